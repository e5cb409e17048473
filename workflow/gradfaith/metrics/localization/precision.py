"""Precision: the share of the marked pixels that are evidence.

    P = |A and M| / |A|            A: the marked pixels, at each of `thresholds` (metrics/maps/located.py)     [davis2006]

It is best for a map that marks a single certain pixel: read it beside recall. Chance is |M| / N at every threshold. A map
that marks nothing (for example, its peak is below a `level` above 1) has no precision, and neither has an empty mask:
undefined. The XAI report does not state its threshold; ours are 0.5, Otsu's, and the area of the evidence. Cost: shared
with recall, F1 and IoU.
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
    chance="area",
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
    undefined = (found.area == 0) | (found.marked == 0)
    return Values(
        found.hits / np.maximum(found.marked, 1), undefined=undefined, reason=f"{EMPTY_MASK}, or nothing is marked"
    )
