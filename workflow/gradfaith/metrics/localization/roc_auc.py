"""ROC AUC: the chance that a pixel of the evidence lies above one outside, ties half.

    AUC = (sum over M of rank - |M|^2 / 2) / (|M| (N - |M|))         rank: middle rank among all pixels, from 0     [fawcett2006]

1/2 is chance for any area. Exact with ties, from ranks; no curve is drawn. For a small lesion most pairs are
easy, so that 0.95 may still mean that a hundred times the lesion's area is brighter than it: read it beside
average_precision. Serves a point: the share of the image below it. Undefined where the mask is empty or
covers the image. Cost: one sort, shared.
"""

import numpy as np

from gradfaith.metrics.contract import Metric, Values
from gradfaith.metrics.maps.located import Located

METRIC = Metric(
    family="localization",
    target="true",
    bounds=(0, 1),
    better="higher",
    evidence=("mask", "box", "point", "parts"),
    invariances=("scale", "monotone", "flip"),
    chance="1/2",
    controls=("centre",),
    cite="fawcett2006",
)


def score(located: Located) -> Values:
    area = located.region.area
    ranks = np.array([(low.sum() + high.sum()) / 2 for low, high in located.below])
    pairs = area * (located.pixels - area)
    auc = (ranks - area**2 / 2) / np.maximum(pairs, 1)
    return Values(auc, undefined=pairs == 0, reason="the mask is empty, or covers the image")
