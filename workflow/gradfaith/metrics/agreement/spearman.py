"""Spearman: the rank correlation of two models' maps of an image.

    rho = correlation of the average ranks of both maps' cells                                      [spearman1904]

No threshold and no peak is used, so all of the map counts; a map of mostly zeros is mostly one tie. Maps are compared
raw, on their own grid and with their sign: a CAM of 7 x 7 cells has 49 values, and resizing it would make 50,000. If
the grids differ, both maps are reduced to the coarser one (metrics/maps/rank_correlation.py). Maps of any two images
correlate if a method prefers the centre or the border, so the value is meaningful only above the variant
"between-images". A map that is the same for every model is perfectly consistent. Cost: a sort per map, about 1 ms at
224 x 224; 0.4 ms per pair.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith.metrics.contract import Metric, Values
from gradfaith.metrics.maps.rank_correlation import average_ranks, pearson_correlation

METRIC = Metric(
    family="agreement",
    target="true",
    bounds=(-1, 1),
    better="higher",
    grid="native",
    invariances=("scale", "monotone", "flip"),
    fooled_by=("uniform", "half", "centre", "edges"),
    chance="0",
    cite="spearman1904",
)


def ready(maps: NDArray[Any]) -> NDArray[np.float32]:  # (m, h, w) -> (m, h, w)
    return average_ranks(maps)


def score(first: NDArray[np.float32], second: NDArray[np.float32]) -> Values:
    value, flat = pearson_correlation(first, second)
    return Values(value, undefined=flat, reason="on the grid that both maps share, one of them is constant")
