"""The interval of a mean from one value per image: the shortest way to what the tables hold."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradfaith.stats.interval_scales import DEFAULT_RULE, UNBOUNDED, Bounds, IntervalRule
from gradfaith.stats.intervals import Interval, make_intervals
from gradfaith.stats.spread import CodeArray, SeedRun, measure_sums


def mean_interval(
    values: ArrayLike,
    groups: Sequence[object] | NDArray[np.generic],
    seeds: Sequence[object] | NDArray[np.generic] | None = None,
    rule: IntervalRule = DEFAULT_RULE,
    bounds: Bounds = UNBOUNDED,
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
    return make_intervals([measure_sums(sums, counts, list(dict.fromkeys(runs)), rule=rule)], rule, bounds)[0]


def _codes(names: Sequence[object]) -> CodeArray:
    """Number distinct names from 0, in order of appearance."""
    order = {name: code for code, name in enumerate(dict.fromkeys(names))}
    return np.array([order[name] for name in names], dtype=np.int64)
