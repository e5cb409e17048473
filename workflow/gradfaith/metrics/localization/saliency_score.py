"""Saliency score: the share of the map's mass on the evidence.

    S = sum_M u / sum u                                                              [arras2022]

The same number is called relevance mass accuracy, and Mass IoU (which it is not). It needs no threshold. Its chance level
is |M| / N, the value of a flat map, so it is small for small lesions with any method. An empty mask, or a map without mass,
has no share: undefined. Cost: one pass over the pixels.
"""

import numpy as np

from gradfaith.metrics.contract import Metric, Values
from gradfaith.metrics.maps.located import Located

METRIC = Metric(
    family="localization",
    target="true",
    bounds=(0, 1),
    better="higher",
    invariances=("scale", "flip"),
    chance="area",
    cite="arras2022",
    differs="an empty mask is undefined, not 0",
)


def score(located: Located) -> Values:
    mass = located.maps.mass
    undefined = (mass <= 0) | (located.region.area == 0)
    reason = "the mask is empty, or the map has no mass"
    return Values(located.inside / np.where(mass > 0, mass, 1), undefined=undefined, reason=reason)
