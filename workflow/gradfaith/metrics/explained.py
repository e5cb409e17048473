"""Maps as metrics that explain again read them: raw, as the method gives them, and evaluated, as every other metric reads them.

Evaluation is done once for all metrics that ask, and only if one asks.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from gradfaith.metrics.contract import Grid
from gradfaith.metrics.evaluated import Evaluated, evaluate


@dataclass(frozen=True)
class Explained:
    """Maps of one method, one for each of some images and classes."""

    raw: Any  # (m, h0, w0), signed, at their own size
    grid: Grid
    signed: bool
    size: tuple[int, int]  # of the images

    @cached_property
    def evaluated(self) -> Evaluated:
        return evaluate(self.raw, grid=self.grid, signed=self.signed, size=self.size)

    @property
    def unit(self) -> Any:  # (m, h, w) in [0, 1]
        return self.evaluated.unit

    @property
    def constant(self) -> Any:  # (m,) bool
        return self.evaluated.degenerate

    @property
    def broken(self) -> Any:  # (m,) bool: not finite
        return self.evaluated.broken

    def of(self, rows: Any) -> "Explained":
        """Some of the maps."""
        return replace(self, raw=self.raw[rows])
