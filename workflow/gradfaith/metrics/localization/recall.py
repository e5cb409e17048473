"""Recall: the share of the evidence that the map marks.

    R = |A and M| / |M|            A: the marked pixels, at each of `thresholds` (metrics/maps/located.py)     [davis2006]

At the fixed threshold this is LocAcc. It is best for a map that marks everything, and 1 for the uniform control: read it
beside precision. The XAI report does not state its threshold; ours are 0.5, Otsu's, and the area of the evidence, where
chance is |M| / N. An empty mask is undefined. Cost: shared with precision, F1 and IoU.
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
    fooled_by=("uniform",),
    controls=("uniform", "centre"),
    cite="davis2006",
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
    return Values(found.hits / np.maximum(found.area, 1), undefined=found.area == 0, reason=EMPTY_MASK)
