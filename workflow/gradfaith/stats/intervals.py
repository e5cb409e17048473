"""A mean over images with an interval over groups, or over groups and seeds.

    mean -+ t(df) * sqrt(V)               V and df from jackknife.py: a cluster-robust t interval, at 95 % unless told

Below 8 groups no interval is given, only the number and the reason: it would rest on a guess. Not a percentile
bootstrap over groups, which covers 78 % with 4 groups and about 90 % with 12-100 unequal ones. With one seed the
interval is conditional on that model; with several the mean is over seeds (each counts alike) and the interval is over
groups and seeds. The numbers are not clipped to a metric's range: an end beyond it says that the t approximation is
strained, and clipping would hide that. Equal values give an interval without width, and the reason says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from gradfaith.stats import jackknife
from gradfaith.stats.jackknife import Floats, Run


@dataclass(frozen=True)
class Rule:
    """When an interval is printed, and how much it promises to cover."""

    level: float = 0.95
    min_groups: int = 8


HOUSE = Rule()
NO_WIDTH = "every value is the same: the interval has no width"
EMPTY = "no image has a value"


@dataclass(frozen=True)
class Interval:
    """A number, its interval (NaN where there is none, and why), and what it rests on."""

    mean: float
    low: float
    high: float
    se: float
    df: float
    n_images: int
    n_groups: int
    n_seeds: int
    interval: str
    reason: str

    @property
    def p(self) -> float:
        """The two-sided p-value of "the mean is zero"; NaN where there is no interval, or no spread to judge by."""
        if np.isnan(self.low) or (self.se == 0 and self.mean != 0):
            return nan
        return 1.0 if self.se == 0 else 2 * float(stdtr(self.df, -abs(self.mean) / self.se))


def mean_interval(
    values: ArrayLike,
    groups: Sequence[object] | NDArray[np.generic],
    seeds: Sequence[object] | NDArray[np.generic] | None = None,
    rule: Rule = HOUSE,
) -> Interval:
    """The interval of a mean: one value per image, or per image and seed; `seeds` may hold pairs (tuples)."""
    numbers = np.asarray(values, dtype=np.float64)
    group = _codes(list(groups))
    runs: list[Run] = [()] * len(numbers)
    if seeds is not None:
        runs = [tuple(seed) if isinstance(seed, tuple | list) else (seed,) for seed in seeds]
    run = _codes(runs)
    shape = (int(group.max(initial=-1)) + 1, int(run.max(initial=-1)) + 1)
    flat, cells = group * shape[1] + run, shape[0] * shape[1]
    sums = np.bincount(flat, numbers, cells).astype(np.float64).reshape(shape)
    counts = np.bincount(flat, minlength=cells).astype(np.float64).reshape(shape)
    return from_sums(sums, counts, list(dict.fromkeys(runs)), rule=rule)


def from_sums(
    sums: Floats,  # (g, r)
    counts: Floats,  # (g, r)
    runs: Sequence[Run],
    n_images: int | None = None,
    rule: Rule = HOUSE,
) -> Interval:
    """The interval of a mean from the sum and the number of values of every group and run."""
    if n_images is None:
        n_images = int(counts.sum(axis=0).max(initial=0))
    if not counts.any():
        return nothing(EMPTY)
    theta, without, shares = jackknife.of_means(sums, counts)
    return from_jackknife(theta, without, shares, runs, present=counts > 0, n_images=n_images, rule=rule)


def from_jackknife(
    theta: Floats,  # (r)
    without: Floats,  # (g, r)
    shares: Floats,  # (g)
    runs: Sequence[Run],
    *,
    present: NDArray[np.bool_],  # (g, r)
    n_images: int,
    lost: int = 0,
    rule: Rule = HOUSE,
) -> Interval:
    """The interval of any statistic from its values without each group (jackknife.py)."""
    n_groups = int(present.any(axis=1).sum())
    n_seeds = len({seed for run in runs for seed in run}) or 1
    fewest = int(present.sum(axis=0).min())
    reason = ""
    if fewest < rule.min_groups:
        seeds = "" if fewest == n_groups else " in one of the seeds"
        reason = f"{fewest} group{'' if fewest == 1 else 's'}{seeds}, an interval needs {rule.min_groups}"
    elif not np.isfinite(without).all():
        reason = "without one of the groups the number has no value"
    if reason:
        return Interval(float(theta.mean()), nan, nan, nan, nan, n_images, n_groups, n_seeds, "", reason)
    found = jackknife.spread(theta, without, shares, runs, lost)
    mean, se, df = float(found.estimate), float(np.sqrt(found.variance)), float(found.df)
    if se <= 1e-12 * max(1.0, abs(mean)):  # what rounding leaves of equal values
        se, reason = 0.0, NO_WIDTH
    half = float(stdtrit(df, 0.5 + rule.level / 2)) * se
    name = "cluster-t over groups and seeds" if found.over_seeds else "cluster-t over groups"
    return Interval(mean, mean - half, mean + half, se, df, n_images, n_groups, n_seeds, name, reason)


def nothing(reason: str, n_images: int = 0) -> Interval:
    """No number, and why."""
    return Interval(nan, nan, nan, nan, nan, n_images, 0, 0, "", reason)


def _codes(names: Sequence[object]) -> NDArray[np.int64]:
    order = {name: code for code, name in enumerate(dict.fromkeys(names))}
    return np.array([order[name] for name in names], dtype=np.int64)
