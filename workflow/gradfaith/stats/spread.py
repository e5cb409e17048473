"""Estimate how an average over images in groups and models in seeds would vary, by the jackknife.

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

Cost: O(groups x runs); leading axes are batched.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradfaith.stats.interval_scales import DEFAULT_RULE, IntervalRule

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
    excess: FloatArray  # (...): the estimate of what seeds add to it; below 0 if they differ less than by chance
    seed_df: int  # degrees of freedom of `excess`; 0: no seed can be left out

    @property
    def extra(self) -> FloatArray:
        """What seeds add to the variance over groups."""
        return np.maximum(self.excess, 0.0)

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

    def at(self, place: int) -> "EstimateSpread":
        """Return the spread of one of several estimates."""
        estimate, over_groups, group_df, excess = (
            np.asarray(part[place]) for part in (self.estimate, self.over_groups, self.group_df, self.excess)
        )
        return EstimateSpread(estimate, over_groups, group_df, excess, self.seed_df)

    def given_these_models(self) -> "EstimateSpread":
        """Return the spread over groups alone."""
        return replace(self, excess=np.zeros_like(self.excess), seed_df=0)


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
    return EstimateSpread(estimate, over_groups, freedom, over_seeds - both, seed_df=len(rows) - 1)


def _sum_of_squares(values: FloatArray) -> FloatArray:  # (..., s) -> (...)
    centred = values - values.mean(axis=-1, keepdims=True)
    return np.asarray((centred**2).sum(axis=-1))


def pool_spreads(spreads: Sequence[EstimateSpread]) -> list[EstimateSpread]:
    """Return spreads that share what seeds add: the mean of their estimates of it, by degrees of freedom   [smyth2004]

    Three architectures with two seeds each have three degrees of freedom together. This holds if seeds change every
    architecture's value alike; the most variable architecture of three then has too narrow an interval.
    """
    freedom = sum(spread.seed_df for spread in spreads)
    if not freedom:
        return list(spreads)
    excess = sum(spread.seed_df * spread.excess for spread in spreads) / freedom
    return [replace(spread, excess=np.asarray(excess), seed_df=freedom) for spread in spreads]


NO_IMAGES = "no image has a value"


@dataclass(frozen=True)
class MeasuredCell:
    """An estimate with its spread, before an interval is made of it; no spread, and a reason, if there can be none."""

    mean: float
    spread: EstimateSpread | None
    n_images: int
    n_groups: int
    n_seeds: int
    reason: str = ""
    of_seeds: tuple[float, ...] = ()  # the mean of every seed, in the order of their names; empty: pairs of seeds


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
    of_seeds = _of_seeds(jackknife.theta, runs)
    return MeasuredCell(float(jackknife.theta.mean()), spread, n_images, n_groups, n_seeds, reason, of_seeds)


def _of_seeds(theta: FloatArray, runs: Sequence[SeedRun]) -> tuple[float, ...]:  # (r)
    """Return the values of single seeds, in the order of their names."""
    if any(len(run) != 1 for run in runs):
        return ()
    return tuple(float(theta[place]) for place in sorted(range(len(runs)), key=lambda place: str(runs[place][0])))


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
                float(means[place]), None if reason else spread.at(place), int(n_images[row]), int(n_groups[place]), n_seeds, reason,
                _of_seeds(jackknife.theta[place], own),
            )  # fmt: skip
    return cells


def pool_seeds(cells: Sequence[MeasuredCell], code: CodeArray) -> list[MeasuredCell]:
    """Return cells in which those of one code share what seeds add to their variance."""
    found = list(cells)
    for number in np.unique(code):
        at = [place for place in np.flatnonzero(code == number).tolist() if cells[place].spread is not None]
        pooled = pool_spreads([spread for place in at if (spread := cells[place].spread) is not None])
        for place, spread in zip(at, pooled, strict=True):
            found[place] = replace(cells[place], spread=spread)
    return found
