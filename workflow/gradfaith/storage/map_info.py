"""Describe a method's stored maps, and return for each map whether it is constant or not finite.

A map is constant, status "degenerate", if its range is below a millionth of its largest absolute value, which is the
rounding error of single precision (metrics/maps/evaluate.py). This is tested twice:

    here                        the map as its method computed it: raw, signed, on its own grid
    metrics/maps/evaluate.py    the part that a metric reads: the positive part, or the absolute values if the study
                                says so, at the image's size; a map without a positive value is constant there

So a map that is degenerate here is degenerate in every score. A map that is ok here may still be degenerate for
metrics: its positive part is empty or smaller than 1e-12 (this limit applies to evaluated maps only).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith import vocabulary
from gradfaith.vocabulary import CONSTANT_RANGE, Grid, Reading

STATUSES = tuple(
    status for status in vocabulary.STATUSES if status != "undefined"
)  # a score can be undefined, a map cannot


@dataclass(frozen=True)
class MapInfo:
    """The properties of a method's maps that a reader needs."""

    method: str
    layer: str
    grid: Grid
    signed: bool
    copies: int
    score: str = ""  # the explained output of the class: logit, log-odds, margin or probability; empty for controls
    reading: Reading = "positive"  # the part of signed maps that metrics and figures read


def from_attributes(attributes: Any) -> MapInfo:
    """Read a MapInfo from the HDF5 attributes of a method's group."""
    return MapInfo(
        str(attributes["method"]),
        str(attributes["layer"]),
        "input" if attributes["grid"] == "input" else "native",
        bool(attributes["signed"]),
        int(attributes["copies"]),
        str(attributes["score"]),
        "absolute" if attributes["reading"] == "absolute" else "positive",
    )


def status_of(maps: NDArray[np.float32]) -> NDArray[np.uint8]:  # (..., h, w) -> (...)
    """Return the index in STATUSES of each map."""
    with np.errstate(invalid="ignore"):
        high, low = maps.max(axis=(-2, -1)), maps.min(axis=(-2, -1))
        constant = (high - low) <= CONSTANT_RANGE * np.maximum(np.abs(high), np.abs(low))
    failed = ~np.isfinite(maps).all(axis=(-2, -1))
    return np.where(failed, 2, np.where(constant, 1, 0)).astype(np.uint8)
