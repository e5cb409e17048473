"""Maps of different grids brought to one that both can fill: the coarser of the two, per axis.

    cell = mean of the map over the cell's area                                    7 x 7 and 14 x 14 -> 7 x 7

The finer map is averaged, never the coarser one stretched: interpolation would order places that the coarse map does not
tell apart, and an agreement about them would be made up. The rule asks for no order (the first with the second is the
second with the first), keeps the mean of a map, its sign and its mirror images, and leaves a map that has the grid already
as it is. Where cells do not nest (6 into 4), each is cut into equal strips, so that equal cells stay exactly tied.
"""

from collections.abc import Iterable
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
