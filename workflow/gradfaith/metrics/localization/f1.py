"""F1: the harmonic mean of precision and recall; Dice.

    F1 = 2 |A and M| / (|A| + |M|)         A: the marked pixels, at each of `thresholds` (metrics/maps/located.py)     [dice1945]

F1 = 2 IoU / (1 + IoU), so both rank maps alike and are one metric. Computed from counts, F1 is 0 if nothing is hit,
although the harmonic mean of 0 and 0 has no value. An empty mask is undefined. Cost: shared with precision, recall and
IoU.
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
    cite="dice1945",
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
    both = found.marked + found.area
    return Values(2 * found.hits / np.maximum(both, 1), undefined=found.area == 0, reason=EMPTY_MASK)
