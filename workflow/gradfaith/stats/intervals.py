"""Make intervals from estimates, their standard errors and degrees of freedom.

    interval = theta -+ t(df) * sqrt(V)                          on the scale of the metric's range, 95 % by default

`stats/spread.py` has V and df. With one or two seeds the interval is over groups, conditional on these models: it holds for
new patients, and two numbers hardly tell how far a third seed would fall. From three seeds on it is over groups and seeds:
for new patients and new trainings of the recipe. Every seed counts alike in the mean. Below 8 groups there is no
interval, only the number and the reason. The interval is not a percentile bootstrap over groups, which covers 78 % with 4
groups and about 90 % with 12-100 unequal ones. `stats/interval_scales.py` makes the ends from mean, V and df, inside the range
of the metric.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan

import numpy as np

from gradfaith.stats.interval_scales import UNBOUNDED, Bounds, Estimates, interval_ends, p_values
from gradfaith.stats.spread import (
    MIN_SEEDS,
    EstimateSpread,
    FlagArray,
    FloatArray,
    Jackknife,
    SeedRun,
    combine_spread,
    jackknife_of_means,
)
from gradfaith.vocabulary import LEVEL, MIN_GROUPS


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
    reason = _no_spread(int(present.sum(axis=0).min()), n_groups, bool(np.isfinite(jackknife.change).all()), rule)
    spread = None if reason else combine_spread(jackknife, runs, lost_df)
    return MeasuredCell(float(jackknife.theta.mean()), spread, n_images, n_groups, n_seeds, reason)


def _no_spread(fewest: int, n_groups: int, is_finite: bool, rule: IntervalRule) -> str:
    """Return why an estimate has no spread; "" if it has one. `fewest`: the groups of the seed with the fewest."""
    if fewest < rule.min_groups:
        seeds = "" if fewest == n_groups else " in one of the seeds"
        return f"{fewest} group{'' if fewest == 1 else 's'}{seeds}, an interval needs {rule.min_groups}"
    return "" if is_finite else "without one of the groups the number has no value"


def measure_many(
    sums: FloatArray,  # (k, g, r)
    counts: FloatArray,  # (k, g, r)
    runs: Sequence[SeedRun],
    n_images: Sequence[int],  # (k)
    rule: IntervalRule = DEFAULT_RULE,
) -> list[MeasuredCell]:
    """Return what `measure_sums` returns of every row; rows with values of the same runs are computed together."""
    cells = [MeasuredCell(nan, None, 0, 0, 0, NO_IMAGES)] * len(sums)
    present: FlagArray = np.asarray(counts > 0)
    patterns, of_row = np.unique(present.any(axis=1), axis=0, return_inverse=True)
    for number, used in enumerate(patterns):
        at, own = np.flatnonzero(of_row == number), [run for run, has in zip(runs, used, strict=True) if has]
        if not own:
            continue
        jackknife = jackknife_of_means(sums[at][:, :, used], counts[at][:, :, used])
        spread, n_seeds = combine_spread(jackknife, own), len({seed for run in own for seed in run}) or 1
        n_groups, fewest = (
            np.asarray(present[at].any(axis=2)).sum(axis=1),
            present[at][:, :, used].sum(axis=1).min(axis=1),
        )
        is_finite = np.asarray(np.isfinite(jackknife.change).all(axis=(1, 2)))
        means = jackknife.theta.mean(axis=1)
        for place, row in enumerate(at.tolist()):
            reason = _no_spread(int(fewest[place]), int(n_groups[place]), bool(is_finite[place]), rule)
            cells[row] = MeasuredCell(
                float(means[place]), None if reason else spread.at(place), int(n_images[row]), int(n_groups[place]), n_seeds, reason
            )  # fmt: skip
    return cells


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
