"""One model's maps of one method, as agreement metrics compare them.

    grid "input"     evaluated maps, at the image's size (evaluated.py)
    grid "native"    raw maps with their sign, on their own grid or on a coarser one that another model shares

What a metric makes of a map (where it reaches a threshold, how its cells rank) is made once for all the models it is
compared with, a chunk of maps at a time. A constant map is degenerate and one that is not finite broken, on the grid where
it is read: a signed map without a positive pixel is constant once evaluated, and still has an order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith.metrics.common_grid import Cells, regrid
from gradfaith.metrics.contract import Grid
from gradfaith.metrics.evaluated import Evaluated, evaluate
from gradfaith.metrics.ordering import level

OneMetric = tuple[ModuleType, Mapping[str, Any]]
CHUNK = 128


@dataclass(frozen=True)
class Kept:
    """What one metric keeps of every map of a side, and which of them say nothing."""

    stack: NDArray[Any]  # (m, ...)
    degenerate: NDArray[np.bool_]  # (m,)
    broken: NDArray[np.bool_]  # (m,)
    absent: NDArray[np.bool_]  # (m,): there is no map

    @property
    def fit(self) -> NDArray[np.bool_]:
        return ~(self.degenerate | self.broken | self.absent)

    def rows(self, rows: NDArray[np.int64]) -> "Kept":
        return Kept(self.stack[rows], self.degenerate[rows], self.broken[rows], self.absent[rows])


@dataclass(frozen=True, eq=False)
class Side:
    """The maps, the images they explain, and what has been kept of them."""

    raw: NDArray[Any]  # (m, h0, w0)
    grid: Grid
    signed: bool
    size: Cells  # of the images
    image_ids: Sequence[str]
    made: dict[tuple[str, Cells], Kept] = field(default_factory=dict)

    @property
    def cells(self) -> Cells:
        return (self.raw.shape[1], self.raw.shape[2])

    def kept(self, label: str, metric: OneMetric, cells: Cells) -> Kept:
        """What the study's metric keeps; `cells`: the grid on which raw maps are compared."""
        module, options = metric
        key = (label, cells if module.METRIC.grid == "native" else self.size)
        if key not in self.made:
            read = [
                self.read(module.METRIC.grid, cells, slice(start, start + CHUNK))
                for start in range(0, len(self.raw), CHUNK)
            ]
            stack = np.concatenate([module.ready(some.unit, **options) for some in read])
            degenerate, broken = (
                np.concatenate([getattr(some, flag) for some in read]) for flag in Evaluated._fields[1:]
            )
            self.made[key] = Kept(stack, degenerate, broken, np.zeros(len(stack), dtype=bool))
        return self.made[key]

    def read(self, grid: Grid, cells: Cells, rows: slice) -> Evaluated:
        """Some of the maps on the grid a metric asks for; zeros where one is not finite."""
        if grid == "input":
            return evaluate(self.raw[rows], grid=self.grid, signed=self.signed, size=self.size)
        raw = self.raw[rows]
        broken = ~np.isfinite(raw).all(axis=(1, 2))
        whole = np.where(broken[:, None, None], 0, raw)
        return Evaluated(regrid(whole, cells), level(whole) & ~broken, broken)
