"""Compute an estimate with its confidence interval from images in groups and models in seeds, by the jackknife.

    interval = theta -+ t(df) * sqrt(V)                          on the scale of the metric's range, 95 % by default
    theta    = mean over runs r of theta_r                       a run: one seed, or a pair of seeds
    d_gr     = theta_r without group g, minus theta_r
    V_groups = (G-1)/G sum_g (mean_r d_gr)^2                     the jackknife over groups, "CV3"     [mackinnon2023]
    V_seeds  = (S-1)/S sum_s (theta without s - their mean)^2    for single seeds: their variance over S
    V_both   = the same seed jackknife of each d_g, added up     what the two share
    V        = V_groups + max(0, V_seeds - V_both)               two-way clustering                   [cameron2011]
    df       = V^2 / (V_groups^2 / f + (V - V_groups)^2 / (S-1))                                     [satterthwaite1946]

f is the Bell-McCaffrey number of degrees of freedom for groups of unequal size: G-1 when they are equal, fewer when a few
hold most images [bell2002]. Where we differ: V is never below V_groups (two-way estimates can turn negative), and df is
matched to the two parts that V is made of, so that it moves smoothly to f as the seeds agree. With V_seeds and V_both in
their place, df would fall to 1, and t rise to 12.7, for one pair of seeds in five that differ by chance alone. Pairs of
seeds share seeds, so a seed is left out with every pair it is in. A seed that is in all pairs (the reference) cannot be
left out, and the interval is conditional on it.

With one or two seeds the interval is over groups, conditional on these models: it holds for new patients, and two numbers
hardly tell how far a third seed would fall. From three seeds on it is over groups and seeds: for new patients and new
trainings of the recipe. Every seed counts alike in the mean. Below 8 groups there is no
interval, only the number and the reason. The interval is not a percentile bootstrap over groups, which covers 78 % with 4
groups and about 90 % with 12-100 unequal ones. `stats/interval_scales.py` makes the ends from mean, V and df, inside the range
of the metric.

Cost: O(groups x runs); leading axes are batched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradfaith.stats.interval_scales import UNBOUNDED, Bounds, Estimates, interval_ends, p_values
from gradfaith.vocabulary import LEVEL, MIN_GROUPS

FloatArray = NDArray[np.float64]
CodeArray = NDArray[np.int64]  # whole numbers from 0 that stand for groups, seeds, images, ...
FlagArray = NDArray[np.bool_]
SeedRun = tuple[object, ...]  # the seeds behind one value of a map: one, two in a pair of models, or none


MIN_SEEDS = 3  # from so many on an interval is over groups and seeds


@dataclass(frozen=True)
class EstimateSpread:
    """An estimate and the two parts of its variance, for every leading index."""

    estimate: FloatArray  # (...)
    over_groups: FloatArray  # (...): variance over groups
    group_df: FloatArray  # (...)
    extra: FloatArray  # (...): what seeds add to it
    seed_df: int  # degrees of freedom of `extra`; 0: no seed can be left out

    @property
    def variance(self) -> FloatArray:
        """The variance over groups and seeds."""
        return self.over_groups + self.extra

    @property
    def df(self) -> FloatArray:
        """The degrees of freedom of the variance over groups and seeds."""
        if not self.seed_df:
            return self.group_df
        below = self.over_groups**2 / self.group_df + self.extra**2 / self.seed_df
        with np.errstate(divide="ignore", invalid="ignore"):
            matched = np.minimum(self.variance**2 / below, self.group_df)
        return np.asarray(np.where(self.extra > 0, matched, self.group_df))

    def given_these_models(self) -> "EstimateSpread":
        """Return the spread over groups alone."""
        return replace(self, extra=np.zeros_like(self.extra), seed_df=0)


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
    """Return the degrees of freedom of the jackknife over groups that hold these shares of the images.

    The variance is a quadratic form in the group sums. It is matched to a chi-square by its first two moments, for
    independent images of one distribution. The moments' double sum over groups separates, so this is O(groups).
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
    """Combine the leave-one-out changes to a variance over groups and seeds.

    `lost_df` degrees of freedom are lost to means that were estimated on the way.
    """
    theta, change, shares = jackknife
    groups = (shares > 0).sum(axis=-1)
    factor = (groups - 1) / np.maximum(groups, 1)
    over_groups = factor * (change.mean(axis=-1) ** 2).sum(axis=-1)
    freedom = np.maximum(group_degrees_of_freedom(shares) - lost_df, 1.0)
    estimate = theta.mean(axis=-1)
    rows = leave_one_seed_out(runs)
    if not len(rows):
        return EstimateSpread(estimate, over_groups, freedom, np.zeros_like(over_groups), seed_df=0)
    shrink = (len(rows) - 1) / len(rows)
    over_seeds = shrink * _sum_of_squares(theta @ rows.T)
    both = factor * shrink * _sum_of_squares(change @ rows.T).sum(axis=-1)
    extra = np.maximum(over_seeds - both, 0.0)
    return EstimateSpread(estimate, over_groups, freedom, extra, seed_df=len(rows) - 1)


def _sum_of_squares(values: FloatArray) -> FloatArray:  # (..., s) -> (...)
    centred = values - values.mean(axis=-1, keepdims=True)
    return np.asarray((centred**2).sum(axis=-1))


@dataclass(frozen=True)
class IntervalRule:
    """How intervals are made: nominal coverage, groups below which there is none, and the range of each metric."""

    level: float = LEVEL
    min_groups: int = MIN_GROUPS
    bounds: Mapping[str, Bounds] = field(default_factory=dict)  # a metric that is not in it is unbounded

    @property
    def bounds_of_differences(self) -> Mapping[str, Bounds]:
        """The ranges of differences between two values of each metric."""
        return {metric: bounds.of_differences for metric, bounds in self.bounds.items()}


DEFAULT_RULE = IntervalRule()


def interval_rule(
    level: float, min_groups: int, declared: Mapping[str, tuple[float | None, float | None]]
) -> IntervalRule:
    """Return a rule from the ranges that metrics declare; None is unbounded on that side."""
    return IntervalRule(level, min_groups, {metric: Bounds.of(own) for metric, own in declared.items()})


CONSTANT = "constant: the same value without any one group"
NO_IMAGES = "no image has a value"
OVER_GROUPS, OVER_BOTH = "over groups", "over groups and seeds"


@dataclass(frozen=True)
class Interval:
    """An estimate, its interval (NaN and a reason if there is none), and the images, groups and seeds behind it."""

    mean: float
    low: float
    high: float
    se: float
    df: float
    p: float  # two-sided, of "the mean is zero"; NaN without an interval, or if zero is no inner point of the range
    n_images: int
    n_groups: int
    n_seeds: int
    interval: str  # its scale and what it is over; "" if there is none
    reason: str


@dataclass(frozen=True)
class MeasuredCell:
    """An estimate with its spread, before an interval is made of it; no spread, and a reason, if there can be none."""

    mean: float
    spread: EstimateSpread | None
    n_images: int
    n_groups: int
    n_seeds: int
    reason: str = ""


def measure_sums(
    sums: FloatArray,  # (g, r)
    counts: FloatArray,  # (g, r)
    runs: Sequence[SeedRun],
    n_images: int | None = None,
    rule: IntervalRule = DEFAULT_RULE,
) -> MeasuredCell:
    """Return the mean and its spread, from the sum and the number of values of every group and run."""
    if n_images is None:
        n_images = int(counts.sum(axis=0).max(initial=0))
    if not counts.any():
        return MeasuredCell(nan, None, 0, 0, 0, NO_IMAGES)
    return measure_jackknife(jackknife_of_means(sums, counts), runs, present=counts > 0, n_images=n_images, rule=rule)


def measure_jackknife(
    jackknife: Jackknife,  # without leading axes
    runs: Sequence[SeedRun],
    *,
    present: FlagArray,  # (g, r)
    n_images: int,
    lost_df: int = 0,
    rule: IntervalRule = DEFAULT_RULE,
) -> MeasuredCell:
    """Return any statistic with its spread, from its jackknife; `present`: the group has values in that run."""
    n_groups = int(present.any(axis=1).sum())
    n_seeds = len({seed for run in runs for seed in run}) or 1
    fewest = int(present.sum(axis=0).min())
    reason = ""
    if fewest < rule.min_groups:
        seeds = "" if fewest == n_groups else " in one of the seeds"
        reason = f"{fewest} group{'' if fewest == 1 else 's'}{seeds}, an interval needs {rule.min_groups}"
    elif not np.isfinite(jackknife.change).all():
        reason = "without one of the groups the number has no value"
    spread = None if reason else combine_spread(jackknife, runs, lost_df)
    return MeasuredCell(float(jackknife.theta.mean()), spread, n_images, n_groups, n_seeds, reason)


def make_intervals(
    cells: Sequence[MeasuredCell], rule: IntervalRule = DEFAULT_RULE, bounds: Bounds = UNBOUNDED
) -> list[Interval]:
    """Return the intervals of cells whose values have these bounds."""
    spreads = [None if cell.spread is None else _spread_with_seeds(cell.spread) for cell in cells]
    used = [(cell, spread) for cell, spread in zip(cells, spreads, strict=True) if spread is not None]
    estimates = Estimates.of(
        np.array([float(spread.estimate) for _, spread in used]),
        np.sqrt([float(spread.variance) for _, spread in used]),
        np.array([float(spread.df) for _, spread in used]),
        np.array([cell.n_images for cell, _ in used]),
        np.array([cell.n_groups for cell, _ in used]),
    )
    ends = interval_ends(estimates, bounds, rule.level)
    p = p_values(estimates, bounds, rule.level, ends)
    numbers = iter(zip(ends.low, ends.high, estimates.se, estimates.df, p, ends.scale, strict=True))
    return [
        _without_interval(cell) if spread is None else _interval(cell, spread, *next(numbers))
        for cell, spread in zip(cells, spreads, strict=True)
    ]


def _spread_with_seeds(spread: EstimateSpread) -> EstimateSpread:
    """Return the spread over groups and seeds, or over groups alone if there are too few seeds."""
    return spread if spread.seed_df + 1 >= MIN_SEEDS else spread.given_these_models()


def _interval(
    cell: MeasuredCell, spread: EstimateSpread, low: float, high: float, se: float, df: float, p: float, scale: str
) -> Interval:
    name = f"{scale} {OVER_BOTH if spread.seed_df else OVER_GROUPS}" if scale else ""
    return Interval(
        cell.mean, float(low), float(high), float(se), float(df), float(p), cell.n_images, cell.n_groups, cell.n_seeds,
        name, "" if scale else CONSTANT,
    )  # fmt: skip


def _without_interval(cell: MeasuredCell) -> Interval:
    return Interval(cell.mean, nan, nan, nan, nan, nan, cell.n_images, cell.n_groups, cell.n_seeds, "", cell.reason)


def no_interval(reason: str, n_images: int = 0) -> Interval:
    """Return an estimate without a number, for a reason."""
    return _without_interval(MeasuredCell(nan, None, n_images, 0, 0, reason))
