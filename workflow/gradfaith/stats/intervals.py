"""The spread of a statistic when images come in groups and models in seeds: leave each out once.

    theta    = mean over runs r of theta_r                       a run: one seed, or a pair of seeds
    d_gr     = theta_r without group g, minus theta_r
    V_groups = (G-1)/G sum_g (mean_r d_gr)^2                     the jackknife over groups, "CV3"     [mackinnon2023]
    V_seeds  = (S-1)/S sum_s (theta without s - their mean)^2    for single seeds: their variance over S
    V_both   = the same seed jackknife of each d_g, added up     what the two share
    V        = V_groups + max(0, V_seeds - V_both)               two-way clustering                   [cameron2011]
    df       = V^2 / (V_groups^2 / f + (V - V_groups)^2 / (S-1))                                     [satterthwaite1946]

f is the Bell-McCaffrey number of degrees of freedom for groups of unequal size: G-1 when they are equal, fewer when a few
hold most images [bell2002]. Where we differ: V is never below V_groups (two-way estimates can turn negative), and df is
matched to the two parts that V is made of, so that it moves smoothly to f as the seeds agree; with V_seeds and V_both in
their place df falls to 1, and t to 12.7, for one pair of seeds in five that differ by chance alone. Pairs of seeds share
seeds, so a seed is left out with every pair it is in; one that is in all of them (the reference) cannot be, and the
spread is conditional on it.

Simulated coverage of the nominal 95 % interval, normal effects, groups equal or unequal (the largest 26 % of the images):
one seed and 8-40 groups 94-97 %; 5 seeds 94-97 %; 3 seeds 91-97 %; 2 seeds 93-97 %, but only 87-92 % where seeds differ by
several times what the groups leave open, for two numbers hardly tell how far a third would fall: train a third. Strongly
skewed patients (exponential) cost 2-5 points. Cost: O(groups x runs); leading axes are batched.

A mean over images with an interval over groups, or over groups and seeds.

    mean -+ t(df) * sqrt(V)               V and df from stats/intervals.py: a cluster-robust t interval, at 95 % unless told

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

Floats = NDArray[np.float64]
Run = tuple[object, ...]  # the seeds of a run: one, two in a pair, none where there are no seeds


@dataclass(frozen=True)
class Spread:
    """A statistic with its variance and degrees of freedom, for every leading index."""

    estimate: Floats  # (...)
    variance: Floats  # (...)
    df: Floats  # (...)
    over_seeds: bool


def of_means(sums: Floats, counts: Floats) -> tuple[Floats, Floats, Floats]:
    """The jackknife of a mean from sums and counts `(..., g, r)`: theta `(..., r)`, d `(..., g, r)`, shares `(..., g)`."""
    total = counts.sum(axis=-2, keepdims=True)  # (..., 1, r)
    with np.errstate(divide="ignore", invalid="ignore"):
        theta = sums.sum(axis=-2, keepdims=True) / total
        without = (theta * counts - sums) / (total - counts)
        shares = (counts / total).mean(axis=-1)
    return theta[..., 0, :], without, shares


def group_freedom(shares: Floats) -> Floats:  # (..., g) -> (...)
    """Degrees of freedom of the jackknife over groups that hold these shares of the images.

    The variance is a quadratic form in the group sums; matched to a chi-square by its first two moments under images
    that are alike and independent. The moments' double sum over groups separates, so this is O(groups).
    """
    weight = 1 / np.maximum(1 - shares, 1e-9) ** 2
    square = (weight * shares**2).sum(axis=-1)
    moment = shares - shares**2  # of the centred group sums, up to the images' variance
    trace = (weight * moment).sum(axis=-1)
    spread = square**2 - (weight**2 * shares**4).sum(axis=-1) + (weight**2 * moment**2).sum(axis=-1)
    return np.asarray(np.maximum(trace**2 / np.maximum(spread, 1e-300), 1.0))


def leave_seeds_out(runs: Sequence[Run]) -> Floats:  # (s, r)
    """One row per seed that can be left out: the weights of the runs that remain without it."""
    seeds = list(dict.fromkeys(seed for run in runs for seed in run))
    keep = np.array([[seed not in run for run in runs] for seed in seeds], dtype=np.float64).reshape(-1, len(runs))
    keep = keep[keep.any(axis=1)]
    return keep / keep.sum(axis=1, keepdims=True) if len(keep) > 1 else np.empty((0, len(runs)))


def spread(
    theta: Floats,  # (..., r)
    without: Floats,  # (..., g, r)
    shares: Floats,  # (..., g)
    runs: Sequence[Run],
    lost: int = 0,
) -> Spread:
    """Combine the leave-one-out changes; `lost` degrees of freedom go to means that were estimated on the way."""
    groups = (shares > 0).sum(axis=-1)
    factor = (groups - 1) / np.maximum(groups, 1)
    over_groups = factor * (without.mean(axis=-1) ** 2).sum(axis=-1)
    freedom = np.maximum(group_freedom(shares) - lost, 1.0)
    estimate = theta.mean(axis=-1)
    rows = leave_seeds_out(runs)
    if not len(rows):
        return Spread(estimate, over_groups, freedom, over_seeds=False)
    shrink = (len(rows) - 1) / len(rows)
    over_seeds = shrink * _scatter(theta @ rows.T)
    both = factor * shrink * _scatter(without @ rows.T).sum(axis=-1)
    extra = np.maximum(over_seeds - both, 0.0)
    variance = over_groups + extra
    below = over_groups**2 / freedom + extra**2 / (len(rows) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        matched = np.where(extra > 0, np.minimum(variance**2 / below, freedom), freedom)
    return Spread(estimate, variance, matched, over_seeds=True)


def _scatter(values: Floats) -> Floats:  # (..., s) -> (...)
    centred = values - values.mean(axis=-1, keepdims=True)
    return np.asarray((centred**2).sum(axis=-1))


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
    theta, without, shares = of_means(sums, counts)
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
    """The interval of any statistic from its values without each group (stats/intervals.py)."""
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
    found = spread(theta, without, shares, runs, lost)
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
