"""Make intervals from estimates, their standard errors and degrees of freedom.

    interval = theta -+ t(df) * sqrt(V)                          on the scale of the metric's range, 95 % by default

`stats/spread.py` has V and df. With one or two seeds the interval is over groups, conditional on these models: it holds for
new patients, and two numbers hardly tell how far a third seed would fall. From three seeds on it is over groups and seeds:
for new patients and new trainings of the recipe. Every seed counts alike in the mean. Below 8 groups there is no
interval, only the number and the reason. The interval is not a percentile bootstrap over groups, which covers 78 % with 4
groups and about 90 % with 12-100 unequal ones. `stats/interval_scales.py` makes the ends from mean, V and df, inside the range
of the metric.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd

from gradfaith.stats.interval_scales import (
    DEFAULT_RULE,
    UNBOUNDED,
    Bounds,
    Estimates,
    IntervalRule,
    interval_ends,
    p_values,
)
from gradfaith.stats.spread import (
    MIN_SEEDS,
    CodeArray,
    EstimateSpread,
    FloatArray,
    MeasuredCell,
    SeedRun,
    measure_sums,
    pool_seeds,
)

CONSTANT = "constant: the same value without any one group"
ESTIMAND = (
    "A mean is over the test images that have a value, and over seeds. Its interval holds for new groups of this population and "
    "these models; if it is also over seeds, for new trainings of this recipe too. Architecture, method and imputer are fixed."
)
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
    sd_seeds: float  # the standard deviation of the seeds' means, as papers print it; NaN with one seed, or for pairs of seeds
    seed_values: str  # the mean of every seed, in the order of `seeds`; "" for pairs of seeds


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
        name, "" if scale else CONSTANT, *_over_seeds(cell),
    )  # fmt: skip


def _without_interval(cell: MeasuredCell) -> Interval:
    return Interval(
        cell.mean, nan, nan, nan, nan, nan, cell.n_images, cell.n_groups, cell.n_seeds, "", cell.reason, *_over_seeds(cell),
    )  # fmt: skip


def _over_seeds(cell: MeasuredCell) -> tuple[float, str]:
    """Return the standard deviation of the seeds' means, and these means as text."""
    deviation = float(np.std(cell.of_seeds, ddof=1)) if len(cell.of_seeds) > 1 else nan
    return deviation, " ".join(f"{value:.4g}" for value in cell.of_seeds)


def no_interval(reason: str, n_images: int = 0) -> Interval:
    """Return an estimate without a number, for a reason."""
    return _without_interval(MeasuredCell(nan, None, n_images, 0, 0, reason))


SEED_COLUMNS = ("seed", "seed2")
INTERVAL_COLUMNS = (
    "value", "low", "high", "se", "df", "p", "n_images", "n_groups", "n_seeds", "seeds", "sd_seeds", "seed_values", "interval", "reason",
)  # fmt: skip
INTERVAL_COLUMNS_WITHOUT_P = tuple(name for name in INTERVAL_COLUMNS if name != "p")
CELL = "cell"  # a column: the mean and spread of a cell


def combination_codes(frame: pd.DataFrame, columns: Sequence[str]) -> CodeArray:  # (n)
    """Number the distinct combinations of the columns that exist, from 0, in order of appearance; one code per row."""
    code = np.zeros(len(frame), dtype=np.int64)
    for column in columns:
        if column in frame:
            column_code = pd.factorize(frame[column], use_na_sentinel=False)[0].astype(np.int64)
            code = pd.factorize(code * (column_code.max(initial=0) + 1) + column_code)[0].astype(np.int64)
    return code


def intervals_by_cell(
    frame: pd.DataFrame,
    keys: Sequence[str],
    rule: IntervalRule = DEFAULT_RULE,
    bounds: Bounds | Mapping[str, Bounds] = UNBOUNDED,
    bounds_by: str = "metric",
) -> pd.DataFrame:
    """Return one row per cell of `keys`: the mean of the column `value`, its interval, and its numbers of images, groups and seeds.

    `frame` and `bounds` are those of `measure_by_cell` and `add_intervals`.
    """
    return add_intervals(measure_by_cell(frame, keys, rule), rule, bounds, bounds_by)


def measure_by_cell(frame: pd.DataFrame, keys: Sequence[str], rule: IntervalRule = DEFAULT_RULE) -> pd.DataFrame:
    """Return one row per cell of `keys`, with its mean and spread in the column CELL, and its seeds.

    `frame` has one row per image and run with the columns value, group, image_id and those of SEED_COLUMNS.
    """
    present = [key for key in keys if key in frame]
    cell, group, run = (
        combination_codes(frame, keys),
        combination_codes(frame, ["group"]),
        combination_codes(frame, SEED_COLUMNS),
    )
    image, values = combination_codes(frame, ["image_id"]), frame["value"].to_numpy(np.float64)
    runs = _seeds_of_runs(frame, run)
    order = np.argsort(cell, kind="stable")
    ends = np.cumsum(np.bincount(cell)) if len(frame) else np.empty(0, dtype=np.int64)
    firsts, cells, seeds = [], list[MeasuredCell](), list[list[object]]()
    for start, end in zip([0, *ends[:-1]], ends, strict=False):
        at = order[start:end]
        run_codes, run_index = np.unique(run[at], return_inverse=True)
        cell_runs = [runs[code] for code in run_codes]
        sums, counts = _sums_by_group_and_run(values[at], np.unique(group[at], return_inverse=True)[1], run_index)
        cells.append(measure_sums(sums, counts, cell_runs, len(np.unique(image[at])), rule))
        seeds.append(sorted({seed for run in cell_runs for seed in run}, key=str))
        firsts.append(at[0])
    table = frame.iloc[firsts][present].reset_index(drop=True)
    texts = [" ".join(map(str, own)) for own in seeds]
    return table.join(pd.DataFrame({CELL: pd.Series(cells, dtype=object), "seeds": pd.Series(texts, dtype="str")}))


def add_intervals(
    table: pd.DataFrame,
    rule: IntervalRule = DEFAULT_RULE,
    bounds: Bounds | Mapping[str, Bounds] = UNBOUNDED,
    bounds_by: str = "metric",
) -> pd.DataFrame:
    """Return the table of `measure_by_cell` with the intervals of its cells; rows without a cell get none.

    `bounds` are those of all values, or by the column `bounds_by`. If the rule pools the variance between seeds, it is
    pooled over the architectures of otherwise equal rows.
    """
    at = np.flatnonzero(table[CELL].notna())
    own, cells = table.iloc[at], list(table[CELL].iloc[at])
    names = own[bounds_by].astype(str) if bounds_by in own else [""] * len(own)
    if rule.pooled:
        cells = pool_seeds(cells, _codes_without_architecture(own))
    places = dict[Bounds, list[int]]()
    for place, name in enumerate(names):
        within = bounds if isinstance(bounds, Bounds) else bounds.get(name, UNBOUNDED)
        places.setdefault(within, []).append(place)
    rows = np.empty(len(own), dtype=object)
    for within, here in places.items():
        for place, interval in zip(here, make_intervals([cells[place] for place in here], rule, within), strict=True):
            rows[place] = tuple(interval_columns(interval, []).values())
    found = pd.DataFrame(list(rows), columns=list(INTERVAL_COLUMNS), index=own.index).drop(columns="seeds")
    return table.drop(columns=CELL).join(found)


def _codes_without_architecture(table: pd.DataFrame) -> CodeArray:
    """Number the rows that differ only in their architecture, and so in its layer."""
    names = map(str, table.columns)
    own = {CELL, "seeds", "arch", "arch2", "layer"}
    others = [name for name in names if name not in own and not name.startswith("n_")]
    return combination_codes(table, others)


def _sums_by_group_and_run(values: FloatArray, group: CodeArray, run: CodeArray) -> tuple[FloatArray, FloatArray]:
    """Return sums and counts (g, r) of the values of one cell."""
    shape = (int(group.max()) + 1, int(run.max()) + 1)
    flat = group * shape[1] + run
    sums, counts = np.bincount(flat, values, shape[0] * shape[1]), np.bincount(flat, minlength=shape[0] * shape[1])
    return sums.astype(np.float64).reshape(shape), counts.astype(np.float64).reshape(shape)


def interval_columns(interval: Interval, seeds: Iterable[object]) -> dict[str, object]:
    """Return an interval by the names of INTERVAL_COLUMNS; the seeds are joined by spaces."""
    values = {name: getattr(interval, "mean" if name == "value" else name, "") for name in INTERVAL_COLUMNS}
    return values | {"seeds": " ".join(map(str, seeds))}


def _seeds_of_runs(frame: pd.DataFrame, run: CodeArray) -> list[SeedRun]:
    """Return the seeds of every run code: one, or two in a pair."""
    first = np.unique(run, return_index=True)[1]
    present = [column for column in SEED_COLUMNS if column in frame]
    rows = frame.iloc[first][present].itertuples(index=False, name=None)
    return [tuple(seed for seed in row if not (pd.isna(seed) or seed == "")) for row in rows]
