"""Turn an estimate, its standard error and its degrees of freedom into an interval inside the metric's range.

    range [a, b]     m = (mean - a) / (b - a),   s = se / (b - a),   n = m (1 - m) / s^2        "effective images"
        n min(m, 1 - m) >= 5    logit(m) -+ t(df) s / (m (1 - m))           Fisher's z where [a, b] is [-1, 1]
        else, or s = 0          the Korn-Graubard beta interval of n m successes among n           [korn1998]
    range [a, inf)   log(mean - a) -+ t(df) se / (mean - a)                 (-inf, b] likewise, from above
    no range         mean -+ t(df) se

A t interval on the metric's own scale leaves the range, and covers 66-93 % near an end where it promises 95 %. On the logit
scale it cannot leave the range. Near an end the logit is no better than the few images that are not at the end: there the
beta interval, which is exact for independent successes, takes n corrected for the degrees of freedom, at most the number of
images. Without any spread n is the number of groups, because each group may be one observation.

Equal values inside the range are "constant by construction": a flat map has the same score for every image. They have no
interval. Equal values at an end of the range are not: 48 successes of 48 leave failures possible.

Simulated coverage of the nominal 95 % interval: tests/unit/stats/test_interval_coverage.py. Cost: arrays, no loop.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy  # which imports `special` at its first use: most figures and tables compute no interval
from numpy.typing import ArrayLike, NDArray

from gradfaith.vocabulary import LEVEL, MIN_GROUPS, SeedVariance

FloatArray = NDArray[np.float64]
MIN_EVENTS = 5  # effective images on either side, below which the beta interval is taken
ROUNDING = 1e-12  # relative error of a standard error that is zero
T, LOGIT, BETA, LOG, NONE = "t", "logit t", "beta", "log t", ""


@dataclass(frozen=True)
class Bounds:
    """The range of a metric."""

    low: float = -np.inf
    high: float = np.inf

    @classmethod
    def of(cls, declared: tuple[float | None, float | None]) -> "Bounds":
        """Return the bounds that a metric declares; None is unbounded on that side."""
        low, high = declared
        return cls(-np.inf if low is None else low, np.inf if high is None else high)

    @property
    def of_differences(self) -> "Bounds":
        """The range of differences between two values of this range."""
        width = self.high - self.low
        return Bounds(-width, width) if self.both else UNBOUNDED

    @property
    def both(self) -> bool:
        """Whether the range has two ends."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))


UNBOUNDED, PROPORTION, CORRELATION = Bounds(), Bounds(0, 1), Bounds(-1, 1)


@dataclass(frozen=True)
class Estimates:
    """Estimates of one metric, each with what its interval is made of; all arrays have one shape."""

    mean: FloatArray
    se: FloatArray
    df: FloatArray
    n_images: FloatArray
    n_groups: FloatArray

    @classmethod
    def of(cls, mean: ArrayLike, se: ArrayLike, df: ArrayLike, n_images: ArrayLike, n_groups: ArrayLike) -> "Estimates":
        """Return estimates from numbers or arrays; a standard error within rounding error of zero is zero."""
        means, errors, freedom = (np.asarray(number, dtype=np.float64) for number in (mean, se, df))
        errors = np.where(errors <= ROUNDING * np.maximum(1.0, np.abs(means)), 0.0, errors)
        images, groups = (np.broadcast_to(np.asarray(n, dtype=np.float64), means.shape) for n in (n_images, n_groups))
        return cls(means, errors, freedom, images, groups)


@dataclass(frozen=True)
class Ends:
    """The ends of intervals (NaN: none), and the scale that each was made on."""

    low: FloatArray
    high: FloatArray
    scale: NDArray[np.str_]  # T, LOGIT, BETA, LOG or NONE


def interval_ends(estimates: Estimates, bounds: Bounds, level: float) -> Ends:
    """Return the intervals of estimates of a metric with these bounds, at a nominal coverage."""
    if bounds.both:
        return _ends_in_range(estimates, bounds, level)
    quantile = scipy.special.stdtrit(estimates.df, 0.5 + level / 2)
    if not (np.isfinite(bounds.low) or np.isfinite(bounds.high)):
        half = quantile * estimates.se
        return _without_constants(estimates, estimates.mean - half, estimates.mean + half, T)
    sign, end = (1.0, bounds.low) if np.isfinite(bounds.low) else (-1.0, bounds.high)
    distance = np.maximum(sign * (estimates.mean - end), 0.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factor = np.exp(quantile * estimates.se / distance)
        near, far = end + sign * distance / factor, end + sign * distance * factor
    low, high = np.minimum(near, far), np.maximum(near, far)
    return _without_constants(estimates, low, high, LOG, constant=distance == 0)


def p_values(estimates: Estimates, bounds: Bounds, level: float, ends: Ends, null: float = 0.0) -> FloatArray:
    """Return two-sided p-values of "the mean is `null`", which agree with the intervals `ends`.

    NaN where there is no interval, and where `null` is no inner point of the range.
    """
    if not bounds.low < null < bounds.high:
        return np.full(estimates.mean.shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        if not bounds.both:
            p = 2 * scipy.special.stdtr(estimates.df, -np.abs(estimates.mean - null) / estimates.se)
        else:
            share, error = _as_shares(estimates, bounds)
            at = (null - bounds.low) / (bounds.high - bounds.low)
            z = (scipy.special.logit(share) - scipy.special.logit(at)) * share * (1 - share) / error
            n = _beta_size(estimates, share, error, level)
            below = scipy.special.betainc(np.maximum(n * share, ROUNDING), n - n * share + 1, at)
            above = 1 - scipy.special.betainc(n * share + 1, np.maximum(n - n * share, ROUNDING), at)
            p_beta = np.minimum(1.0, 2 * np.where(share > at, below, above))
            p = np.where(ends.scale == BETA, p_beta, 2 * scipy.special.stdtr(estimates.df, -np.abs(z)))
    return np.asarray(np.where(np.isfinite(ends.low), p, np.nan))


def equivalence_p_values(estimates: Estimates, bounds: Bounds, level: float, ends: Ends, margin: float) -> FloatArray:
    """Return p-values of two one-sided tests that the mean lies within -margin and +margin.      [schuirmann1987]

    Below 1 - level, the interval with twice the error lies inside the margin, and the two are called equivalent. Each
    one-sided p-value is half of the two-sided one, on the side of the estimate.
    """
    one_sided = []
    for null, beyond in ((-margin, estimates.mean > -margin), (margin, estimates.mean < margin)):
        half = p_values(estimates, bounds, level, ends, null) / 2
        one_sided.append(np.where(beyond, half, 1 - half))
    return np.asarray(np.maximum(*one_sided))


def _ends_in_range(estimates: Estimates, bounds: Bounds, level: float) -> Ends:
    width = bounds.high - bounds.low
    share, error = _as_shares(estimates, bounds)
    inner = share * (1 - share)
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = inner / error**2
        on_logit = (error > 0) & (effective * np.minimum(share, 1 - share) >= MIN_EVENTS)
        half = scipy.special.stdtrit(estimates.df, 0.5 + level / 2) * error / inner
        logit_low, logit_high = (
            scipy.special.expit(scipy.special.logit(share) - half),
            scipy.special.expit(scipy.special.logit(share) + half),
        )
    n, tail = _beta_size(estimates, share, error, level), (1 - level) / 2
    beta_low = np.where(
        share > 0, scipy.special.betaincinv(np.maximum(n * share, ROUNDING), n - n * share + 1, tail), 0.0
    )
    beta_high = np.where(
        share < 1, scipy.special.betaincinv(n * share + 1, np.maximum(n - n * share, ROUNDING), 1 - tail), 1.0
    )
    low, high = np.where(on_logit, logit_low, beta_low), np.where(on_logit, logit_high, beta_high)
    scale = np.where(on_logit, LOGIT, BETA)
    constant = (error == 0) & (inner > 0)
    low, high = (np.where(constant, np.nan, bounds.low + width * end) for end in (low, high))
    return Ends(low, high, np.where(constant, NONE, scale))


def _as_shares(estimates: Estimates, bounds: Bounds) -> tuple[FloatArray, FloatArray]:
    """Return mean and standard error as shares of the range; a mean within rounding error of an end is at it."""
    width = bounds.high - bounds.low
    share = np.clip((estimates.mean - bounds.low) / width, 0.0, 1.0)
    share = np.where(share < ROUNDING, 0.0, np.where(share > 1 - ROUNDING, 1.0, share))
    return share, estimates.se / width


def _beta_size(estimates: Estimates, share: FloatArray, error: FloatArray, level: float) -> FloatArray:
    """Return the number of independent images that the beta interval stands for."""
    quantile, inner = 0.5 + level / 2, share * (1 - share)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_images = scipy.special.stdtrit(np.maximum(estimates.n_images - 1, 1), quantile)
        n = inner / error**2 * (of_images / scipy.special.stdtrit(estimates.df, quantile)) ** 2
    no_spread = (error == 0) | (inner == 0)
    return np.asarray(np.where(no_spread, estimates.n_groups, np.minimum(n, estimates.n_images)))


def _without_constants(
    estimates: Estimates, low: FloatArray, high: FloatArray, scale: str, constant: NDArray[np.bool_] | bool = False
) -> Ends:
    """Return ends on one scale; estimates without spread, or `constant` ones, have none."""
    without = (estimates.se == 0) | constant
    low, high = (np.where(without, np.nan, end) for end in (low, high))
    return Ends(low, high, np.where(without, NONE, scale))


@dataclass(frozen=True)
class IntervalRule:
    """How intervals are made: nominal coverage, groups below which there is none, and the range of each metric."""

    level: float = LEVEL
    min_groups: int = MIN_GROUPS
    bounds: Mapping[str, Bounds] = field(default_factory=dict)  # a metric that is not in it is unbounded
    pooled: bool = False  # the variance between seeds is pooled over architectures

    @property
    def bounds_of_differences(self) -> Mapping[str, Bounds]:
        """The ranges of differences between two values of each metric."""
        return {metric: bounds.of_differences for metric, bounds in self.bounds.items()}


DEFAULT_RULE = IntervalRule()


def interval_rule(
    level: float,
    min_groups: int,
    declared: Mapping[str, tuple[float | None, float | None]],
    seed_variance: SeedVariance = "own",
) -> IntervalRule:
    """Return a rule from the ranges that metrics declare; None is unbounded on that side."""
    bounds = {metric: Bounds.of(own) for metric, own in declared.items()}
    return IntervalRule(level, min_groups, bounds, pooled=seed_variance == "pooled")
