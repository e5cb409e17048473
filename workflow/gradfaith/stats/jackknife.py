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
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
