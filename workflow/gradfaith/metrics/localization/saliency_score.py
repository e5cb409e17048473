"""Saliency score: the share of the map's mass that lies on the evidence.

    S = sum_M u / sum u                                                              [arras2022]

The same number is called relevance mass accuracy, and Mass IoU (which it is not). No threshold. Its chance level is
|M| / N, the value of a flat map, so it is small for small lesions whatever the method. An empty mask, or a map without mass,
has no share: undefined. Cost: one pass over the pixels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith.metrics.contract import Metric, Values

METRIC = Metric(
    family="localization",
    target="true",
    bounds=(0, 1),
    better="higher",
    invariances=("scale", "flip"),
    cite="arras2022",
    differs="an empty mask is undefined, not 0",
)


def score(maps: NDArray[Any], region: NDArray[np.bool_]) -> Values:
    inside = np.where(region, maps, 0).sum(axis=(1, 2), dtype=np.float64)  # (m,)
    mass = maps.sum(axis=(1, 2), dtype=np.float64)
    undefined = (mass <= 0) | ~region.any(axis=(1, 2))
    return Values(
        inside / np.where(mass > 0, mass, 1), undefined=undefined, reason="the mask is empty, or the map has no mass"
    )
