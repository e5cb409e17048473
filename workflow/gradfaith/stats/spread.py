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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
