"""Correlations along the last axis, where some numbers are missing and some are level.

    Pearson of the values;  Spearman = Pearson of the ranks, ties sharing the mean of theirs

Only places with both numbers count. Values nearer than winrates.TIE are level: methods that are one by algebra differ by
rounding. Fewer than three places, or one side level throughout, have no correlation: NaN. Leading axes are batched. Cost:
O(m^2) for the ranks of m values, which is what a tolerance costs.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from gradfaith.stats.intervals import Floats
from gradfaith.stats.winrates import TIE

FEWEST = 3


def spearman(x: Floats, t: Floats) -> Floats:  # (..., m), (..., m) -> (...)
    x, t = _both(x, t)
    return pearson(ranks(x), ranks(t))


def pearson(x: Floats, t: Floats) -> Floats:  # (..., m), (..., m) -> (...)
    x, t = _both(x, t)
    count = np.isfinite(x).sum(axis=-1)
    level = _level(x) | _level(t) | (count < FEWEST)
    with np.errstate(invalid="ignore", divide="ignore"):
        x, t = (values - np.nansum(values, axis=-1, keepdims=True) / count[..., None] for values in (x, t))
        found = np.nansum(x * t, axis=-1) / np.sqrt(np.nansum(x**2, axis=-1) * np.nansum(t**2, axis=-1))
    return np.asarray(np.where(level, np.nan, np.clip(found, -1, 1)))


COEFFICIENTS: Mapping[str, Callable[[Floats, Floats], Floats]] = {"spearman": spearman, "pearson": pearson}


def ranks(values: Floats) -> Floats:  # (..., m) -> (..., m)
    """1 for the lowest; those that are level share the mean of their places; NaN stays NaN."""
    with np.errstate(invalid="ignore"):
        ahead = values[..., :, None] - values[..., None, :]
        below, same = (ahead > TIE).sum(axis=-1), (np.abs(ahead) <= TIE).sum(axis=-1)
    return np.where(np.isfinite(values), below + (same + 1) / 2, np.nan)


def _both(x: Floats, t: Floats) -> tuple[Floats, Floats]:
    there = np.isfinite(x) & np.isfinite(t)
    return np.where(there, x, np.nan), np.where(there, t, np.nan)


def _level(values: Floats) -> NDArray[np.bool_]:  # (..., m) -> (...)
    low = np.where(np.isnan(values), np.inf, values).min(axis=-1, initial=np.inf)
    high = np.where(np.isnan(values), -np.inf, values).max(axis=-1, initial=-np.inf)
    return np.asarray(high - low <= TIE)
