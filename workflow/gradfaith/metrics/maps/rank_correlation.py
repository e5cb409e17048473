"""Maps of different grids brought to one that both can fill: the coarser of the two, per axis.

    cell = mean of the map over the cell's area                                    7 x 7 and 14 x 14 -> 7 x 7

The finer map is averaged, never the coarser one stretched: interpolation would order places that the coarse map does not
tell apart, and an agreement about them would be made up. The rule asks for no order (the first with the second is the
second with the first), keeps the mean of a map, its sign and its mirror images, and leaves a map that has the grid already
as it is. Where cells do not nest (6 into 4), each is cut into equal strips, so that equal cells stay exactly tied.

Order without values: average ranks, and the correlation of what has been ranked.

    rank of a cell = how many lie below it, plus half of the others that tie with it
    rho            = Pearson's correlation of the ranks                                             [spearman1904]

Ranks count from 0 and are kept in single precision, which holds them exactly for maps of up to four million cells.
Cost: a sort per map, once for all its comparisons; then a pass over the cells per pair.
"""

from collections.abc import Iterable
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith.vocabulary import CONSTANT_RANGE

Cells = tuple[int, int]


def coarsest(grids: Iterable[Cells]) -> Cells:
    heights, widths = zip(*grids, strict=True)
    return min(heights), min(widths)


def regrid(maps: NDArray[Any], cells: Cells) -> NDArray[Any]:  # (m, h0, w0) -> (m, h, w)
    """Averages over the cells of a grid that is no finer."""
    for axis, count in ((1, cells[0]), (2, cells[1])):
        if maps.shape[axis] != count:
            maps = _average(maps, axis, count)
    return maps


def _average(maps: NDArray[Any], axis: int, count: int) -> NDArray[np.float64]:
    strips = lcm(maps.shape[axis], count)
    fine = np.repeat(maps.astype(np.float64), strips // maps.shape[axis], axis=axis)
    shape = [*maps.shape[:axis], count, strips // count, *maps.shape[axis + 1 :]]
    found: NDArray[np.float64] = fine.reshape(shape).mean(axis=axis + 1)
    return found


Numbers = NDArray[np.floating]
Floats = NDArray[np.float64]


def ranks(maps: Numbers) -> NDArray[np.float32]:  # (m, ...) -> (m, ...)
    """Every map's cells ranked among themselves."""
    found = np.empty(maps.shape, dtype=np.float32)
    for values, place in zip(_flat(maps), _flat(found), strict=True):
        order = values.argsort()
        rising = values[order]
        new = np.concatenate([[True], rising[1:] != rising[:-1]])
        starts = np.flatnonzero(new)
        ends = np.concatenate([starts[1:], [len(values)]])
        place[order] = ((starts + ends - 1) / 2)[new.cumsum() - 1]
    return found


def correlation(first: Numbers, second: Numbers) -> tuple[Floats, NDArray[np.bool_]]:  # 2 x (m, ...) -> (m,), (m,)
    """Pearson's correlation, pair by pair, and where there is none because one side is flat."""
    sides = [_flat(side).astype(np.float64) for side in (first, second)]
    a, b = (side - side.mean(axis=1, keepdims=True) for side in sides)
    size = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    flat: NDArray[np.bool_] = size <= 0
    return np.clip((a * b).sum(axis=1) / np.where(flat, 1, size), -1, 1), flat


def level(maps: Numbers) -> NDArray[np.bool_]:  # (m, h, w) -> (m,)
    """Maps that rank nothing: their range is below a millionth of their size, the rounding of single precision."""
    flat = _flat(maps)
    with np.errstate(invalid="ignore"):
        found: NDArray[np.bool_] = np.ptp(flat, axis=1) <= CONSTANT_RANGE * np.abs(flat).max(axis=1)
    return found


def _flat(maps: Numbers) -> Numbers:  # (m, ...) -> (m, p), also where there is no map
    return maps.reshape(len(maps), int(np.prod(maps.shape[1:])))
