"""Shortcut lift: how much more of the map lies on a planted shortcut than its area would earn.

    lift = (sum_B u / sum u) / (|B| / N)             B: the region "shortcut"

1 is chance (a flat map), 0 is none of it, N / |B| is all of it. Ours; the numerator is the saliency score. Whether high is good depends
on the question: a faithful map of a model that uses the shortcut should be on it. Images without a shortcut are undefined.
Cost: one pass over the pixels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith.metrics.contract import Metric, Values

METRIC = Metric(
    family="localization",
    target="predicted",
    bounds=(0, None),
    better="neither",
    region="shortcut",
    invariances=("scale", "flip"),
)


def score(maps: NDArray[Any], region: NDArray[np.bool_]) -> Values:
    inside = np.where(region, maps, 0).mean(axis=(1, 2), dtype=np.float64)  # (m,)
    mass, area = maps.mean(axis=(1, 2), dtype=np.float64), region.mean(axis=(1, 2))
    expected = mass * area
    undefined = expected <= 0
    lift = inside / np.where(undefined, 1, expected)
    return Values(lift, undefined=undefined, reason="the image has no shortcut, or the map has no mass")
