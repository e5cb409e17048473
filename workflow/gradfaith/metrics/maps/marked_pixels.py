"""Which pixels a map marks, and how many of them are evidence: three thresholds, one count.

    fixed          A = {u >= level}
    otsu           A = {u >= t}: t parts the values with the largest variance between the two sides        [otsu1979]
    area-matched   A = the |M| highest pixels, so that precision, recall and F1 are one number

Otsu's threshold is that of 256 equal bins over [0, 1], as in scikit-image, which returns the middle of the last bin of the
lower side; we cut at that bin's end, where the two sides part. Pixels that tie for the last of the |M| places count in
expectation: s places for T pixels of which h are evidence are worth s h / T. Cost: a few binary searches per map.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradfaith.metrics.maps.located import Floats, Located

Threshold = Literal["fixed", "otsu", "area-matched"]
EMPTY = "the mask is empty"
BINS = 256


@dataclass(frozen=True)
class Marked:
    """Pixels marked, those of them that are evidence, and the evidence."""

    hits: Floats  # (m,) |A and M|
    marked: Floats  # (m,) |A|
    area: Floats  # (m,) |M|


def mark(on: Located, threshold: Threshold, level: float = 0.5) -> Marked:
    area = on.region.area.astype(np.float64)
    if threshold == "area-matched":
        return Marked(highest(on), area, area)
    values = on.maps.rising
    levels = otsu(values) if threshold == "otsu" else np.full(len(values), level)
    marked, hits = on.reaching(levels.astype(values.dtype))
    return Marked(hits.astype(np.float64), marked.astype(np.float64), area)


def highest(on: Located) -> Floats:  # (m,)
    """How many of the |M| highest pixels are evidence, ties at the last place in expectation; 0 for an empty mask."""
    wanted = on.region.area
    hits = np.zeros(len(wanted))
    for row in np.flatnonzero(wanted):
        whole, own = on.maps.rising[row], on.rising[row]
        last = whole[len(whole) - wanted[row]]
        level, level_inside = _level(whole, last), _level(own, last)
        places = wanted[row] - (len(whole) - level.stop)
        hits[row] = len(own) - level_inside.stop + places * len(level_inside) / len(level)
    return hits


def _level(rising: NDArray[Any], value: Any) -> range:
    """The places that hold this very value."""
    return range(int(np.searchsorted(rising, value, "left")), int(np.searchsorted(rising, value, "right")))


def otsu(rising: NDArray[Any]) -> Floats:  # (m, pixels) sorted -> (m,)
    """Otsu's threshold of every map: the end of the last bin of its lower side."""
    edges = (np.arange(BINS + 1) / BINS).astype(rising.dtype)  # exact in any precision
    middles = (np.arange(BINS) + 0.5) / BINS
    thresholds = np.empty(len(rising))
    for row, values in enumerate(rising):
        places = np.searchsorted(values, edges, "left")
        places[0], places[-1] = 0, len(values)  # the last bin is closed
        counts = np.diff(places).astype(np.float64)
        below, sums = counts.cumsum(), (counts * middles).cumsum()
        above = below[-1] - below
        with np.errstate(divide="ignore", invalid="ignore"):
            between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
        thresholds[row] = (np.nan_to_num(between[:-1]).argmax() + 1) / BINS
    return thresholds
