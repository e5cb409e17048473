"""ROC AUC: the probability that a pixel of the evidence is above a pixel outside; ties count half.

    AUC = (sum over M of rank - |M|^2 / 2) / (|M| (N - |M|))         rank: middle rank among all pixels, from 0     [fawcett2006]

1/2 is chance for any area. It is exact with ties, from ranks; no curve is drawn. For a small lesion most pairs are easy:
at 0.95, an area a hundred times that of the lesion may still be above it. Read it beside average_precision. For a point it
is the share of the image below it. It is undefined if the mask is empty or covers the image. Cost: one sort, shared.
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
