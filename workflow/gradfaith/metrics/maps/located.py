"""Maps beside the region a metric reads, and what several metrics share: sorted once, summed once.

    Region     where to look: a mask per map, its pixels and its area; many methods' maps share it
    Ranked     evaluated maps and their pixels in rising order
    Located    the two together

Every rank metric follows from two sorted lists, that of the map's pixels and that of its pixels in the region: how many reach a
value is a binary search in each. Ties need no care: equal values have one first and one last place. Everything is computed
row by row, so that a map's numbers depend on no other map. Cost at 224 x 224 on one core: 0.1 ms per map to sort it.

Which pixels a map marks, and how many of them are evidence: three thresholds, one count.

    fixed          A = {u >= level}
    otsu           A = {u >= t}: t parts the values with the largest variance between the two sides        [otsu1979]
    area-matched   A = the |M| highest pixels, so that precision, recall and F1 are one number

Otsu's threshold is that of 256 equal bins over [0, 1], as in scikit-image, which returns the middle of the last bin of the
lower side; we cut at that bin's end, where the two sides part. Pixels that tie for the last of the |M| places count in
expectation: s places for T pixels of which h are evidence are worth s h / T. Cost: a few binary searches per map.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Region:
    """One mask per map."""

    mask: NDArray[np.bool_]  # (m, h, w)

    @cached_property
    def places(self) -> list[Counts]:  # m times (k,)
        return [np.flatnonzero(row) for row in self.mask]

    @cached_property
    def area(self) -> Counts:  # (m,) pixels
        return np.array([len(row) for row in self.places], dtype=np.int64)

    @cached_property
    def share(self) -> Floats:  # (m,) of the image
        return self.area / np.prod(self.mask.shape[1:])

    def near(self, reach: int) -> "Region":
        """The region and all that is at most `reach` pixels from it; computed once."""
        if reach not in self._nearby:
            wide = [row if not row.any() else distance_transform_edt(~row) <= reach for row in self.mask]
            self._nearby[reach] = Region(np.stack(wide)) if reach > 0 and wide else self
        return self._nearby[reach]

    @cached_property
    def _nearby(self) -> dict[int, "Region"]:
        return {}


@dataclass(frozen=True, eq=False)
class Ranked:
    """Evaluated maps, whatever the region."""

    unit: NDArray[Any]  # (m, h, w) in [0, 1]

    @cached_property
    def flat(self) -> NDArray[Any]:  # (m, pixels)
        return self.unit.reshape(len(self.unit), int(np.prod(self.unit.shape[1:])))

    @cached_property
    def rising(self) -> NDArray[Any]:  # (m, pixels)
        return np.sort(self.flat, axis=1)

    @cached_property
    def mass(self) -> Floats:  # (m,)
        return total(self.flat)

    @cached_property
    def length(self) -> Floats:  # (m,) Euclidean
        return np.sqrt(total(row.astype(np.float64) ** 2 for row in self.flat))


@dataclass(frozen=True, eq=False)
class Located:
    """What a localization metric is given."""

    maps: Ranked
    region: Region

    @classmethod
    def of(cls, unit: NDArray[Any], mask: NDArray[np.bool_]) -> "Located":
        """Evaluated maps and their masks, both (m, h, w)."""
        return cls(Ranked(unit), Region(mask))

    @cached_property
    def pixels(self) -> int:
        return int(self.maps.flat.shape[1])

    @cached_property
    def values(self) -> list[NDArray[Any]]:  # m times (k,): the map in the region
        return [row[places] for row, places in zip(self.maps.flat, self.region.places, strict=True)]

    @cached_property
    def rising(self) -> list[NDArray[Any]]:  # m times (k,)
        return [np.sort(row) for row in self.values]

    @cached_property
    def inside(self) -> Floats:  # (m,) the mass in the region
        return total(self.values)

    @cached_property
    def below(self) -> list[tuple[Counts, Counts]]:  # m times (k,), (k,)
        """For every pixel of the region, in rising order: how many of the map lie below it, and below or level with it."""
        pairs = zip(self.maps.rising, self.rising, strict=True)
        return [(np.searchsorted(whole, own, "left"), np.searchsorted(whole, own, "right")) for whole, own in pairs]

    def reaching(self, level: NDArray[Any]) -> tuple[Counts, Counts]:  # (m,) -> (m,), (m,)
        """How many pixels reach a level: of each map, and of each map in the region."""
        return reach(self.maps.rising, level), reach(self.rising, level)

    def near(self, distance: int) -> "Located":
        return Located(self.maps, self.region.near(distance))


def total(rows: Iterable[NDArray[Any]]) -> Floats:  # (m,)
    """The sum of every row in double precision."""
    return np.array([row.sum(dtype=np.float64) for row in rows], dtype=np.float64)


def reach(rising: Iterable[NDArray[Any]], level: NDArray[Any]) -> Counts:  # (m,)
    """How many of each row's sorted values reach its level."""
    pairs = zip(rising, level, strict=True)
    return np.array([len(row) - np.searchsorted(row, own, "left") for row, own in pairs], dtype=np.int64)


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
