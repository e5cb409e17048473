"""Sort maps and measure them within a region: the shared computations of localization metrics, each done once.

    Region       a mask per map, its pixels and area; maps of several methods share it
    SortedMaps   evaluated maps and their pixels in increasing order
    Located      both together: the input of a localization metric
    MarkedPixels the number of pixels that a threshold marks, and the number of these on evidence

Every rank metric follows from two sorted lists, of the map's pixels and of its pixels in the region: a binary search
in each counts the pixels that reach a value. Ties need no special case: equal values have one first and one last
place. Everything is computed row by row, so that the values of a map depend on no other map. Cost at 224 x 224 on one
core: 0.1 ms per map to sort it.

A map marks pixels by one of three thresholds:

    fixed          A = {u >= level}
    otsu           A = {u >= t}: t divides the values with the largest variance between the two sides       [otsu1979]
    area-matched   A = the |M| highest pixels, so that precision, recall and F1 are one number

Otsu's threshold uses 256 equal bins over [0, 1], as in scikit-image, which returns the middle of the last bin of the
lower side; we use the end of that bin, where the two sides part. Pixels that tie for the last of the |M| places count
in expectation: s places for T pixels of which h are evidence count s h / T. Cost: a few binary searches per map.
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
    def places(self) -> list[Counts]:  # m times (k,), positions in the flat image
        return [np.flatnonzero(row) for row in self.mask]

    @cached_property
    def area(self) -> Counts:  # (m,) pixels
        return np.array([len(row) for row in self.places], dtype=np.int64)

    @cached_property
    def share(self) -> Floats:  # (m,) of the image
        return self.area / np.prod(self.mask.shape[1:])

    def dilate(self, distance: int) -> "Region":
        """Return the region and all pixels at most `distance` away from it; computed once."""
        if distance not in self._dilated:
            wide = [row if not row.any() else distance_transform_edt(~row) <= distance for row in self.mask]
            self._dilated[distance] = Region(np.stack(wide)) if distance > 0 and wide else self
        return self._dilated[distance]

    @cached_property
    def _dilated(self) -> dict[int, "Region"]:
        return {}


@dataclass(frozen=True, eq=False)
class SortedMaps:
    """Evaluated maps, and results that are computed once for all regions."""

    unit: NDArray[Any]  # (m, h, w) in [0, 1]

    @cached_property
    def flat(self) -> NDArray[Any]:  # (m, pixels)
        return self.unit.reshape(len(self.unit), int(np.prod(self.unit.shape[1:])))

    @cached_property
    def rising(self) -> NDArray[Any]:  # (m, pixels)
        return np.sort(self.flat, axis=1)

    @cached_property
    def mass(self) -> Floats:  # (m,)
        return row_sums(self.flat)

    @cached_property
    def length(self) -> Floats:  # (m,) Euclidean
        return np.sqrt(row_sums(row.astype(np.float64) ** 2 for row in self.flat))


@dataclass(frozen=True, eq=False)
class Located:
    """Maps and the region of each: the input of a localization metric."""

    maps: SortedMaps
    region: Region

    @classmethod
    def from_maps(cls, unit: NDArray[Any], mask: NDArray[np.bool_]) -> "Located":
        """Return evaluated maps with their masks, both (m, h, w)."""
        return cls(SortedMaps(unit), Region(mask))

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
        return row_sums(self.values)

    @cached_property
    def below(self) -> list[tuple[Counts, Counts]]:  # m times (k,), (k,)
        """For every pixel of the region, in increasing order: the number of map pixels below it, and at most equal to it."""
        pairs = zip(self.maps.rising, self.rising, strict=True)
        return [(np.searchsorted(row, own, "left"), np.searchsorted(row, own, "right")) for row, own in pairs]

    def count_reaching(self, level: NDArray[Any]) -> tuple[Counts, Counts]:  # (m,) -> (m,), (m,)
        """Count the pixels that reach a level, for each map, and for each map in its region."""
        return count_reaching(self.maps.rising, level), count_reaching(self.rising, level)

    def dilate(self, distance: int) -> "Located":
        """Return the same maps with the region and all pixels at most `distance` away from it."""
        return Located(self.maps, self.region.dilate(distance))


def row_sums(rows: Iterable[NDArray[Any]]) -> Floats:  # (m,)
    """Return the sum of every row in double precision."""
    return np.array([row.sum(dtype=np.float64) for row in rows], dtype=np.float64)


def count_reaching(rising: Iterable[NDArray[Any]], level: NDArray[Any]) -> Counts:  # (m,)
    """Count the values of each sorted row that reach its level."""
    pairs = zip(rising, level, strict=True)
    return np.array([len(row) - np.searchsorted(row, own, "left") for row, own in pairs], dtype=np.int64)


Threshold = Literal["fixed", "otsu", "area-matched"]
EMPTY_MASK = "the mask is empty"
BINS = 256


@dataclass(frozen=True)
class MarkedPixels:
    """The number of pixels that a map marks (A), that are evidence (M), and that are both."""

    hits: Floats  # (m,) |A and M|
    marked: Floats  # (m,) |A|
    area: Floats  # (m,) |M|


def mark_pixels(located: Located, threshold: Threshold, level: float = 0.5) -> MarkedPixels:
    """Count the pixels that each map marks by a threshold; `level`: of the fixed threshold."""
    area = located.region.area.astype(np.float64)
    if threshold == "area-matched":
        return MarkedPixels(hits_among_highest(located), area, area)
    values = located.maps.rising
    levels = otsu_thresholds(values) if threshold == "otsu" else np.full(len(values), level)
    marked, hits = located.count_reaching(levels.astype(values.dtype))
    return MarkedPixels(hits.astype(np.float64), marked.astype(np.float64), area)


def hits_among_highest(located: Located) -> Floats:  # (m,)
    """Count the evidence among the |M| highest pixels; ties at the last place count in expectation; 0 for an empty mask."""
    wanted = located.region.area
    hits = np.zeros(len(wanted))
    for row in np.flatnonzero(wanted):
        values, inside = located.maps.rising[row], located.rising[row]
        last = values[len(values) - wanted[row]]
        tied, tied_inside = _places_of(values, last), _places_of(inside, last)
        places = wanted[row] - (len(values) - tied.stop)
        hits[row] = len(inside) - tied_inside.stop + places * len(tied_inside) / len(tied)
    return hits


def _places_of(rising: NDArray[Any], value: Any) -> range:
    """Return the places with exactly this value."""
    return range(int(np.searchsorted(rising, value, "left")), int(np.searchsorted(rising, value, "right")))


def otsu_thresholds(rising: NDArray[Any]) -> Floats:  # (m, pixels) sorted -> (m,)
    """Return Otsu's threshold of every map: the end of the last bin of its lower side."""
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
