"""Compute an estimate with its confidence interval from images in groups and models in seeds, by the jackknife.

    interval = theta -+ t(df) * sqrt(V)                          a cluster-robust t interval, 95 % by default
    theta    = mean over runs r of theta_r                       a run: one seed, or a pair of seeds
    d_gr     = theta_r without group g, minus theta_r
    V_groups = (G-1)/G sum_g (mean_r d_gr)^2                     the jackknife over groups, "CV3"     [mackinnon2023]
    V_seeds  = (S-1)/S sum_s (theta without s - their mean)^2    for single seeds: their variance over S
    V_both   = the same seed jackknife of each d_g, added up     the part in both
    V        = V_groups + max(0, V_seeds - V_both)               two-way clustering                   [cameron2011]
    df       = V^2 / (V_groups^2 / f + (V - V_groups)^2 / (S-1))                                     [satterthwaite1946]

f is the Bell-McCaffrey number of degrees of freedom for groups of unequal size: G-1 if they are equal, fewer if a few contain
most images [bell2002]. Where we differ: V is never below V_groups (two-way estimates can become negative), and df is matched
to the two parts of V, so that it approaches f smoothly as the seeds agree. With V_seeds and V_both instead, df would fall to
1, and t rise to 12.7, for one pair of seeds in five that differ by chance alone. Pairs of seeds share seeds, so a seed is
left out with every pair that contains it. A seed in all pairs (the reference) cannot be left out, and the interval is
conditional on it.

With one seed the interval is conditional on that model. With several, the mean is over seeds with equal weights, and the
interval is over groups and seeds. With fewer than 8 groups there is no interval, only the value and the reason. The interval
is not a percentile bootstrap over groups, which covers 78 % with 4 groups and about 90 % with 12-100 unequal ones. Ends are
not clipped to a metric's range: an end outside it shows that the t approximation is poor. Equal values give an interval
without width, and the reason states it.

Simulated coverage of the nominal 95 % interval, normal effects, groups equal or unequal (the largest 26 % of the images):
one seed and 8-40 groups 94-97 %; 5 seeds 94-97 %; 3 seeds 91-97 %; 2 seeds 93-97 %, but only 87-92 % if seeds differ by
several times the spread of the groups, because two values hardly determine a third: then train a third seed. Strongly skewed
patients (exponential) cost 2-5 points. Cost: O(groups x runs); leading axes are batched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from gradfaith.vocabulary import LEVEL, MIN_GROUPS

FloatArray = NDArray[np.float64]
CodeArray = NDArray[np.int64]  # whole numbers from 0 as codes of groups, seeds, images, ...
FlagArray = NDArray[np.bool_]
SeedRun = tuple[object, ...]  # the seeds behind one value of a map: one, two in a pair of models, or none


@dataclass(frozen=True)
class EstimateSpread:
    """An estimate with its variance and degrees of freedom, for every leading index."""

    estimate: FloatArray  # (...)
    variance: FloatArray  # (...)
    df: FloatArray  # (...)
    over_seeds: bool


class Jackknife(NamedTuple):
    """A statistic of every run, its change when a group is left out, and each group's share of the images."""

    theta: FloatArray  # (..., r)
    change: FloatArray  # (..., g, r): the statistic without the group, minus theta
    shares: FloatArray  # (..., g)


def jackknife_of_means(sums: FloatArray, counts: FloatArray) -> Jackknife:
    """Return the jackknife of a mean from sums and counts (..., g, r) of values by group and run."""
    total = counts.sum(axis=-2, keepdims=True)  # (..., 1, r)
    with np.errstate(divide="ignore", invalid="ignore"):
        theta = sums.sum(axis=-2, keepdims=True) / total
        change = (theta * counts - sums) / (total - counts)
        shares = (counts / total).mean(axis=-1)
    return Jackknife(theta[..., 0, :], change, shares)


def group_degrees_of_freedom(shares: FloatArray) -> FloatArray:  # (..., g) -> (...)
    """Return the degrees of freedom of the jackknife over groups with these shares of the images.

    The variance is a quadratic form in the group sums. Its first two moments are matched to a chi-square distribution, for
    independent images of one distribution. The double sum of the moments over groups separates, so this is O(groups).
    """
    weight = 1 / np.maximum(1 - shares, 1e-9) ** 2
    square = (weight * shares**2).sum(axis=-1)
    moment = shares - shares**2  # of the centred group sums, up to the images' variance
    trace = (weight * moment).sum(axis=-1)
    spread = square**2 - (weight**2 * shares**4).sum(axis=-1) + (weight**2 * moment**2).sum(axis=-1)
    return np.asarray(np.maximum(trace**2 / np.maximum(spread, 1e-300), 1.0))


def leave_one_seed_out(runs: Sequence[SeedRun]) -> FloatArray:  # (s, r)
    """Return one row per seed that can be left out: the weights of the runs that remain without it."""
    seeds = list(dict.fromkeys(seed for run in runs for seed in run))
    keep = np.array([[seed not in run for run in runs] for seed in seeds], dtype=np.float64).reshape(-1, len(runs))
    keep = keep[keep.any(axis=1)]
    return keep / keep.sum(axis=1, keepdims=True) if len(keep) > 1 else np.empty((0, len(runs)))


def combine_spread(jackknife: Jackknife, runs: Sequence[SeedRun], lost_df: int = 0) -> EstimateSpread:
    """Combine the leave-one-out changes into a variance over groups and seeds.

    `lost_df`: degrees of freedom that are lost to estimated means.
    """
    theta, change, shares = jackknife
    groups = (shares > 0).sum(axis=-1)
    factor = (groups - 1) / np.maximum(groups, 1)
    over_groups = factor * (change.mean(axis=-1) ** 2).sum(axis=-1)
    freedom = np.maximum(group_degrees_of_freedom(shares) - lost_df, 1.0)
    estimate = theta.mean(axis=-1)
    rows = leave_one_seed_out(runs)
    if not len(rows):
        return EstimateSpread(estimate, over_groups, freedom, over_seeds=False)
    shrink = (len(rows) - 1) / len(rows)
    over_seeds = shrink * _sum_of_squares(theta @ rows.T)
    both = factor * shrink * _sum_of_squares(change @ rows.T).sum(axis=-1)
    extra = np.maximum(over_seeds - both, 0.0)
    variance = over_groups + extra
    below = over_groups**2 / freedom + extra**2 / (len(rows) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        matched = np.where(extra > 0, np.minimum(variance**2 / below, freedom), freedom)
    return EstimateSpread(estimate, variance, matched, over_seeds=True)


def _sum_of_squares(values: FloatArray) -> FloatArray:  # (..., s) -> (...)
    centred = values - values.mean(axis=-1, keepdims=True)
    return np.asarray((centred**2).sum(axis=-1))


@dataclass(frozen=True)
class IntervalRule:
    """The nominal coverage of intervals, and the minimum number of groups."""

    level: float = LEVEL
    min_groups: int = MIN_GROUPS


DEFAULT_RULE = IntervalRule()
NO_WIDTH = "every value is the same: the interval has no width"
NO_IMAGES = "no image has a value"


@dataclass(frozen=True)
class Interval:
    """An estimate, its interval (NaN and a reason if there is none), and the images, groups and seeds behind it."""

    mean: float
    low: float
    high: float
    se: float
    df: float
    n_images: int
    n_groups: int
    n_seeds: int
    interval: str  # the kind of interval; "" if there is none
    reason: str

    @property
    def p(self) -> float:
        """The two-sided p-value of "the mean is zero"; NaN without an interval, or without any spread."""
        if np.isnan(self.low) or (self.se == 0 and self.mean != 0):
            return nan
        return 1.0 if self.se == 0 else 2 * float(stdtr(self.df, -abs(self.mean) / self.se))


def mean_interval(
    values: ArrayLike,
    groups: Sequence[object] | NDArray[np.generic],
    seeds: Sequence[object] | NDArray[np.generic] | None = None,
    rule: IntervalRule = DEFAULT_RULE,
) -> Interval:
    """Return the mean with its interval, from one value per image, or per image and seed.

    `groups` and `seeds` name the group and seed of each value; a seed may be a pair (tuple).
    """
    numbers = np.asarray(values, dtype=np.float64)
    group = _codes(list(groups))
    runs: list[SeedRun] = [()] * len(numbers)
    if seeds is not None:
        runs = [tuple(seed) if isinstance(seed, tuple | list) else (seed,) for seed in seeds]
    run = _codes(runs)
    shape = (int(group.max(initial=-1)) + 1, int(run.max(initial=-1)) + 1)
    flat, cells = group * shape[1] + run, shape[0] * shape[1]
    sums = np.bincount(flat, numbers, cells).astype(np.float64).reshape(shape)
    counts = np.bincount(flat, minlength=cells).astype(np.float64).reshape(shape)
    return interval_from_sums(sums, counts, list(dict.fromkeys(runs)), rule=rule)


def interval_from_sums(
    sums: FloatArray,  # (g, r)
    counts: FloatArray,  # (g, r)
    runs: Sequence[SeedRun],
    n_images: int | None = None,
    rule: IntervalRule = DEFAULT_RULE,
) -> Interval:
    """Return the mean with its interval, from the sum and the number of values of every group and run."""
    if n_images is None:
        n_images = int(counts.sum(axis=0).max(initial=0))
    if not counts.any():
        return no_interval(NO_IMAGES)
    jackknife = jackknife_of_means(sums, counts)
    return interval_from_jackknife(jackknife, runs, present=counts > 0, n_images=n_images, rule=rule)


def interval_from_jackknife(
    jackknife: Jackknife,  # without leading axes
    runs: Sequence[SeedRun],
    *,
    present: FlagArray,  # (g, r)
    n_images: int,
    lost_df: int = 0,
    rule: IntervalRule = DEFAULT_RULE,
) -> Interval:
    """Return any statistic with its interval, from its jackknife; `present`: the group has values in that run."""
    n_groups = int(present.any(axis=1).sum())
    n_seeds = len({seed for run in runs for seed in run}) or 1
    fewest = int(present.sum(axis=0).min())
    reason = ""
    if fewest < rule.min_groups:
        seeds = "" if fewest == n_groups else " in one of the seeds"
        reason = f"{fewest} group{'' if fewest == 1 else 's'}{seeds}, an interval needs {rule.min_groups}"
    elif not np.isfinite(jackknife.change).all():
        reason = "without one of the groups the number has no value"
    if reason:
        return Interval(float(jackknife.theta.mean()), nan, nan, nan, nan, n_images, n_groups, n_seeds, "", reason)
    spread = combine_spread(jackknife, runs, lost_df)
    mean, se, df = float(spread.estimate), float(np.sqrt(spread.variance)), float(spread.df)
    if se <= 1e-12 * max(1.0, abs(mean)):  # the rounding error of equal values
        se, reason = 0.0, NO_WIDTH
    half = float(stdtrit(df, 0.5 + rule.level / 2)) * se
    name = "cluster-t over groups and seeds" if spread.over_seeds else "cluster-t over groups"
    return Interval(mean, mean - half, mean + half, se, df, n_images, n_groups, n_seeds, name, reason)


def no_interval(reason: str, n_images: int = 0) -> Interval:
    """Return an estimate without a value, with the reason."""
    return Interval(nan, nan, nan, nan, nan, n_images, 0, 0, "", reason)


def _codes(names: Sequence[object]) -> CodeArray:
    """Number distinct names from 0, in order of appearance."""
    order = {name: code for code, name in enumerate(dict.fromkeys(names))}
    return np.array([order[name] for name in names], dtype=np.int64)
