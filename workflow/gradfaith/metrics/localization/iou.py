"""IoU: the intersection over union of marked pixels and evidence.

    IoU = |A and M| / |A or M|             A: the marked pixels, at each of `thresholds` (metrics/maps/located.py)     [everingham2010]

At the area-matched threshold it is o / (2 - o), with o the Top-K overlap: the same number as iou_area_matched. At the fixed
threshold a broad map scores low, but so does a sharp one on a large lesion; only the area-matched form depends on the order
alone. Against a box it is below 1 even for a perfect outline, because the corners of the box are no lesion. An empty mask is
undefined. Cost: shared with precision, recall and F1.
"""

from typing import Literal

import numpy as np

from gradfaith.metrics.contract import Metric, Values
from gradfaith.metrics.maps.located import EMPTY_MASK, Located, MarkedPixels, mark_pixels

METRIC = Metric(
    family="localization",
    target="true",
    bounds=(0, 1),
    better="higher",
    variants="thresholds",
    invariances=("scale", "flip"),
    cite="everingham2010",
    differs="the threshold is stated, and one of three",
    limits=("0 < level <= 1",),
)


def score(
    located: Located,
    *,
    thresholds: tuple[Literal["fixed", "otsu", "area-matched"], ...] = ("fixed", "otsu", "area-matched"),
    level: float = 0.5,
) -> dict[str, Values]:
    return {name: _score(mark_pixels(located, name, level)) for name in thresholds}


def _score(found: MarkedPixels) -> Values:
    union = found.marked + found.area - found.hits
    return Values(found.hits / np.maximum(union, 1), undefined=found.area == 0, reason=EMPTY_MASK)
