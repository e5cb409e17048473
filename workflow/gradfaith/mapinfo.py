"""What is known of a method's stored maps as a whole, and of each map: whether it says anything at all."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Grid = Literal["native", "input"]
STATUSES = ("ok", "degenerate", "failed")
CONSTANT = 1e-12  # a map whose range is below this times its size has nothing to say


@dataclass(frozen=True)
class MapInfo:
    """What a reader must know of a method's maps before it uses them."""

    method: str
    layer: str
    grid: Grid
    signed: bool
    copies: int
    score: str = ""  # what of the class's answer is explained: its logit, log-odds or margin; of controls nothing


def from_attributes(attributes: Any) -> MapInfo:
    return MapInfo(
        str(attributes["method"]),
        str(attributes["layer"]),
        "input" if attributes["grid"] == "input" else "native",
        bool(attributes["signed"]),
        int(attributes["copies"]),
        str(attributes["score"]),
    )


def status_of(maps: NDArray[np.float32]) -> NDArray[np.uint8]:  # (..., h, w) -> (...)
    """The index in STATUSES of each map."""
    with np.errstate(invalid="ignore"):
        high, low = maps.max(axis=(-2, -1)), maps.min(axis=(-2, -1))
        constant = (high - low) <= CONSTANT * np.maximum(np.abs(high), np.abs(low))
    failed = ~np.isfinite(maps).all(axis=(-2, -1))
    return np.where(failed, 2, np.where(constant, 1, 0)).astype(np.uint8)
