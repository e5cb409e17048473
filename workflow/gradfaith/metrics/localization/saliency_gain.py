"""Saliency gain: the share of the map's mass on the evidence, divided by the share of its area.

    gain = S / (|M| / N),   S = sum_M u / sum u                    S: saliency_score

1 is chance, the value of a flat map and the average of random ones, for any lesion size. The maximum is N / |M|, so small
lesions can gain more: compare methods on the same images. Ours. An empty mask, or a map without mass, is undefined. Cost:
one pass over the pixels.
"""

import numpy as np

from gradfaith.metrics.contract import Metric, Values
from gradfaith.metrics.maps.located import Located

METRIC = Metric(
    family="localization",
    target="true",
    bounds=(0, None),
    better="higher",
    invariances=("scale", "flip"),
    chance="1",
)


def score(located: Located) -> Values:
    expected = located.maps.mass * located.region.share
    undefined = expected <= 0
    reason = "the mask is empty, or the map has no mass"
    return Values(located.inside / np.where(undefined, 1, expected), undefined=undefined, reason=reason)
