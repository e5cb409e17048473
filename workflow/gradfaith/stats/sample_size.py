"""Plan a study: the smallest difference that a design detects, and the chance that a gate is decided.

    x_gs = mean + a_g + b_s + e_gs          group g (a patient), seed s; standard deviations A, B and E
    V_groups = (A^2 + E^2 / S) / G          over G groups, for these models                         one and two seeds
    V        = V_groups + B^2 / S           for new trainings, too                                  three seeds or more
    df       = V^2 / (V_groups^2 / (G - 1) + (B^2 / S)^2 / (S - 1))
    power    = P(|T| > t(df, 1 - alpha / 2))       T: noncentral t with df and noncentrality d / sqrt(V)

These are the parts of which stats/intervals.py makes an interval, on the metric's own scale: near the ends of a range, where
intervals are on another scale, a plan is rough. A difference d is detected if its interval excludes 0; a gate is decided if the
interval of its number excludes the margin, on either side. Adjusted for a family of m contrasts, alpha is alpha / m, which is
an upper limit for what the simultaneous intervals need.

More groups do not help against a large B: with three seeds df falls towards 2 as V_groups shrinks.

Components are estimated from a finished study by the analysis of variance of the groups' contributions
u_gs = G (sum_gs - mean_s n_gs) / n_s, where sum and n are over the images of a group:

    E^2 = sum (u_gs - mean_s u_gs)^2 / ((G - 1)(S - 1))     A^2 = var_g(mean_s u_gs) - E^2 / S     B^2 = var_s(mean_s) - E^2 / G

each at least 0. One seed cannot tell A from E, and says nothing about B.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import inf, isnan, nan, sqrt

import numpy as np
from scipy.special import gammaincinv, ndtr, stdtrit

from gradfaith.stats.spread import MIN_SEEDS, CodeArray, FloatArray

POWER = 0.8
STEPS = 60  # of the bisection
NODES = 2000  # of the integral over the estimated standard error
LARGE = 1e6  # degrees of freedom of a normal distribution


@dataclass(frozen=True)
class Components:
    """The standard deviations of a number between groups, between seeds, and of what is left; NaN: unknown."""

    groups: float
    seeds: float
    residual: float


@dataclass(frozen=True)
class Design:
    """How many patients are tested, and how many seeds are trained."""

    patients: int
    seeds: int


@dataclass(frozen=True)
class PlannedNumber:
    """A number that a gate compares with its margin."""

    gate: str
    part: str  # architecture, and control, imputer or class
    value: float
    margin: float
    components: Components
    seeds_per_run: int = 1  # 2: every value is of a pair of models
    arch: str = ""
    fails: bool = False  # the value is on the wrong side of the margin


def components_of(sums: FloatArray, counts: FloatArray) -> Components:
    """Return the components of a mean from sums and counts (g, s) of values by group and seed."""
    groups, seeds = sums.shape
    totals = counts.sum(axis=0)
    means = sums.sum(axis=0) / totals
    share = groups * (sums - means * counts) / totals  # (g, s)
    by_group = share.mean(axis=1)
    over_groups = float((by_group**2).sum()) / (groups - 1)
    if seeds == 1:
        return Components(sqrt(over_groups), nan, 0.0)
    residual = float(((share - by_group[:, None]) ** 2).sum()) / ((groups - 1) * (seeds - 1))
    between = float(means.var(ddof=1)) - residual / groups
    return Components(sqrt(max(over_groups - residual / seeds, 0.0)), sqrt(max(between, 0.0)), sqrt(residual))


def pool_seeds(found: Sequence[Components]) -> list[Components]:
    """Return components with the variance between seeds averaged over networks: each network has few seeds."""
    known = [one.seeds**2 for one in found if not isnan(one.seeds)]
    pooled = sqrt(sum(known) / len(known)) if known else nan
    return [Components(one.groups, pooled, one.residual) for one in found]


def spread(components: Components, design: Design) -> tuple[float, float]:
    """Return the standard error that a design has, and its degrees of freedom; NaN if the seeds' part is unknown."""
    over_groups = (components.groups**2 + components.residual**2 / design.seeds) / design.patients
    extra = components.seeds**2 / design.seeds if design.seeds >= MIN_SEEDS else 0.0
    below = over_groups**2 / (design.patients - 1) + (extra**2 / (design.seeds - 1) if extra else 0.0)
    variance = over_groups + extra
    return sqrt(variance), variance**2 / below if below else inf


def detection_chance(ratio: float, df: float, alpha: float) -> float:
    """Return the power of the two-sided t test; `ratio`: the difference in standard errors."""
    if isnan(ratio) or isnan(df):
        return nan
    limit, errors = float(stdtrit(min(df, LARGE), 1 - alpha / 2)), _relative_errors(min(df, LARGE))
    return float((ndtr(ratio - limit * errors) + ndtr(-ratio - limit * errors)).mean())


@cache
def _relative_errors(df: float) -> FloatArray:
    """Return estimated standard errors over the true one, at evenly spaced shares of their distribution.

    The mean of a normal probability over them is the noncentral t, which scipy.special returns as NaN for large ratios.
    """
    return np.asarray(np.sqrt(2 * gammaincinv(df / 2, (np.arange(NODES) + 0.5) / NODES) / df))


def smallest_difference(components: Components, design: Design, alpha: float, power: float = POWER) -> float:
    """Return the smallest difference that a design detects with this power; NaN if a component is unknown."""
    error, df = spread(components, design)
    if isnan(error):
        return nan
    low, high = 0.0, 1e3
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if detection_chance(middle, df, alpha) < power else (low, middle)
    return high * error


def chance_decided(number: PlannedNumber, design: Design, alpha: float) -> float:
    """Return the chance that the interval of a gate's number excludes its margin, if value and components are true."""
    own = Design(design.patients, max(design.seeds // number.seeds_per_run, 1))
    error, df = spread(number.components, own)
    distance = abs(number.value - number.margin)
    if error == 0:
        return 1.0 if distance else 0.0
    return detection_chance(distance / error, df, alpha)


def gate_chances(numbers: Sequence[PlannedNumber], design: Design, alpha: float) -> dict[str, float]:
    """Return gate -> the chance that it is decided on the network where this is least certain.

    All parts decide a gate together; a part on the wrong side decides it alone. Chances of several parts are not combined.
    """
    networks: dict[str, dict[str, list[tuple[bool, float]]]] = {}
    for number in numbers:
        chance = chance_decided(number, design, alpha)
        networks.setdefault(number.gate, {}).setdefault(number.arch, []).append((number.fails, chance))
    return {gate: _least([_of_parts(parts) for parts in of.values()]) for gate, of in networks.items()}


def _of_parts(parts: Sequence[tuple[bool, float]]) -> float:
    alone = [chance for fails, chance in parts if fails and not isnan(chance)]
    return max(alone) if alone else _least([chance for _, chance in parts])


def _least(chances: Sequence[float]) -> float:
    return nan if any(map(isnan, chances)) else min(chances)


def recommend(
    smallest: Mapping[Design, float], gates: Mapping[Design, Mapping[str, float]], difference: float, power: float = POWER
) -> Design | None:  # fmt: skip
    """Return the design with the fewest patients, then seeds, that detects the difference and decides every gate; or None.

    An unknown chance or difference is not enough. Without a difference and gates nothing is asked for: None.
    """
    if isnan(difference) and not any(gates.values()):
        return None
    for design in sorted(smallest, key=lambda one: (one.patients, one.seeds)):
        detects = isnan(difference) or smallest[design] <= difference
        if detects and all(chance >= power for chance in gates.get(design, {}).values()):
            return design
    return None


def sums_of_runs(value: FloatArray, group: CodeArray, run: CodeArray) -> tuple[FloatArray, FloatArray]:
    """Return sums and counts (g, s) of values by group and run, which are numbered from 0."""
    shape = int(group.max()) + 1, int(run.max()) + 1
    flat, size = group * shape[1] + run, shape[0] * shape[1]
    sums = np.bincount(flat, value, size).astype(np.float64).reshape(shape)
    return sums, np.bincount(flat, minlength=size).astype(np.float64).reshape(shape)
