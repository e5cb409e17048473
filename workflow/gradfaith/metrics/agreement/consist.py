"""Consist: the overlap of the relevant regions of two models' maps.

    IoU = |A and B| / |A or B|               A = {u >= t}, B = {v >= t}                            [panboonyuen2026]

The paper does not state t; its code uses 0.5. Two empty sets have no IoU: published code returns 0 or 1, we return
undefined. Grad-CAM maps of any two CT slices overlap, so the value is meaningful only above the level of different
images, which the runner returns as the variant "between-images". A map that is the same for every model is perfectly
consistent. Cost: one pass over the pixels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith.metrics.contract import Metric, Values

METRIC = Metric(
    family="agreement",
    target="true",
    bounds=(0, 1),
    better="higher",
    invariances=("scale", "flip"),
    fooled_by=("uniform", "half", "centre", "edges"),
    cite="panboonyuen2026",
    differs="two empty maps are undefined, not 0; the reference is not compared with itself",
    limits=("0 < threshold <= 1",),
)


def ready(maps: NDArray[Any], *, threshold: float = 0.5) -> NDArray[np.bool_]:  # (m, h, w) -> (m, h, w)
    return maps >= threshold


def score(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Values:
    union = np.count_nonzero(first | second, axis=(1, 2))  # (m,)
    shared = np.count_nonzero(first & second, axis=(1, 2))
    return Values(shared / np.maximum(union, 1), undefined=union == 0, reason="neither map reaches the threshold")
