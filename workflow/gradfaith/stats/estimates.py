"""Average scores over images: one estimate with its interval per cell, and the number of scores by status.

    rows with a value -> cells (a combination of keys) -> sums by group and run -> stats/intervals.py

A cell is an architecture (or a pair), method, layer, target, metric and variant; with `by`, also a stratum of the images
such as the label or a bin of lesion size, besides all images ("all"). The average is over the scores that are ok; the
others are counted by status (n_* count scores, so the five copies of a shuffled map count five times). Copies of a
control are averaged within an image first, so that five shuffled maps have the weight of one other map and do not count as
five images. Methods whose counts differ are averaged over different images: stats/contrasts.py compares them in pairs.

Scores come in parts, each with all rows of some cells, so that memory does not grow with the table. Contrasts, win rates
and meta-evaluation share `intervals_by_cell`, for any table of values. `mean_curves` does the same for the points of
deletion and insertion curves: at each share removed, the mean over images of the class's probability.

Cost: 0.2 ms per cell and stratum, about 1 s for 300,000 scores. Strings become integers once per part.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.errors import BrokenTable
from gradfaith.stats.interval_scales import PROPORTION, UNBOUNDED, Bounds
from gradfaith.stats.intervals import (
    DEFAULT_RULE,
    NO_IMAGES,
    Interval,
    IntervalRule,
    MeasuredCell,
    make_intervals,
    measure_sums,
)
from gradfaith.stats.spread import CodeArray, SeedRun
from gradfaith.vocabulary import STATUSES

ESTIMATE_KEYS = ("arch", "arch2", "method", "layer", "target", "metric", "variant")
ALL_IMAGES = "all"
FIRST_ROW = "first row"  # the place of a cell's first row among all scores; it orders cells that were computed apart


def estimate_scores(
    parts: Iterable[pd.DataFrame], keys: Sequence[str] = ESTIMATE_KEYS, by: Sequence[str] = (), rule: IntervalRule = DEFAULT_RULE
) -> pd.DataFrame:  # fmt: skip
    """Return one row per cell: the mean over images, its interval and the number of scores by status.

    Each part has one row per map, metric and variant, and all rows of its cells; its index is each row's place among all
    scores. Besides all images, each stratum of each column in `by` has a row; scores without a stratum are left out there.
    `map` takes the parts, so that no part stays in memory while the next is read.
    """
    found: list[list[pd.DataFrame]] = list(map(partial(_estimate_part, keys=keys, by=by, rule=rule), parts))
    table = pd.concat([in_order_of_rows(tables) for tables in zip(*found, strict=True)], ignore_index=True)
    counts = [f"n_{status}" for status in STATUSES]
    return table[[*(key for key in keys if key in table), "by", "stratum", *INTERVAL_COLUMNS, *counts]]


def _estimate_part(
    scores: pd.DataFrame, keys: Sequence[str], by: Sequence[str], rule: IntervalRule
) -> list[pd.DataFrame]:
    """Return the cells of all images, then those of each value of each column in `by`."""
    check_scores(scores)
    present = [key for key in keys if key in scores]
    return [_estimate_strata(scores, present, column, rule) for column in ("", *by)]


def _estimate_strata(scores: pd.DataFrame, keys: list[str], by: str, rule: IntervalRule) -> pd.DataFrame:
    """Return the cells of all images, or those of each value of the column `by`."""
    if not by:
        return _estimate_cells(scores, keys, rule).assign(by="", stratum=ALL_IMAGES)
    with_stratum = scores[scores[by].notna()]
    table = _estimate_cells(with_stratum, keys if by in keys else [*keys, by], rule)
    table = table.assign(by=by, stratum=table[by].astype(str))
    return table if by in keys else table.drop(columns=by)


def in_order_of_rows(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Join tables in the order of their column FIRST_ROW, without it; texts of any type become plain texts."""
    texts = {name: "str" for name, kind in tables[0].dtypes.items() if isinstance(kind, pd.CategoricalDtype)}
    table = pd.concat([table.astype(texts) for table in tables], ignore_index=True)
    return table.sort_values(FIRST_ROW, kind="stable", ignore_index=True).drop(columns=FIRST_ROW)


ROWS_AT_ONCE = 20_000


def join_parts(parts: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Yield small tables together, some rows at a time: many small tables take longer than a few large ones."""
    waiting: list[pd.DataFrame] = []
    for part in parts:
        waiting.append(part)
        if sum(map(len, waiting)) >= ROWS_AT_ONCE:
            yield pd.concat(waiting, ignore_index=True)
            waiting = []
    if waiting:
        yield pd.concat(waiting, ignore_index=True)


def _estimate_cells(scores: pd.DataFrame, keys: Sequence[str], rule: IntervalRule) -> pd.DataFrame:
    intervals = intervals_by_cell(average_copies(scores, keys), keys, rule, rule.bounds)
    table = _count_statuses(scores, keys).merge(intervals, on=list(keys), how="left")
    return fill_empty_cells(table).fillna({"reason": NO_IMAGES})


def fill_empty_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Set the counts of images, groups and seeds to 0 in cells without a value; the caller gives the reason."""
    counts = table[["n_images", "n_groups", "n_seeds"]].fillna(0).astype(np.int64)
    return table.assign(**{str(name): counts[name] for name in counts}).fillna({"seeds": "", "interval": ""})


def _count_statuses(scores: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Count the scores of every cell by status; a cell without any ok score has a row too."""
    cell = combination_codes(scores, keys)
    n, first = int(cell.max(initial=-1)) + 1, np.unique(cell, return_index=True)[1]
    table = scores.iloc[first][list(keys)].reset_index(drop=True).assign(**{FIRST_ROW: scores.index[first]})
    for status in STATUSES:
        table[f"n_{status}"] = np.bincount(cell[scores["status"].to_numpy() == status], minlength=n)
    return table


SEED_COLUMNS = ("seed", "seed2")
INTERVAL_COLUMNS = (
    "value", "low", "high", "se", "df", "p", "n_images", "n_groups", "n_seeds", "seeds", "interval", "reason",
)  # fmt: skip
INTERVAL_COLUMNS_WITHOUT_P = tuple(name for name in INTERVAL_COLUMNS if name != "p")


def check_scores(scores: pd.DataFrame) -> None:
    """Refuse an unknown status, and an "ok" without a finite value."""
    unknown = set(scores["status"].unique()) - set(STATUSES)
    empty = (scores["status"].to_numpy() == "ok") & ~np.isfinite(scores["value"].to_numpy(np.float64))
    if unknown or empty.any():
        fault = (
            f"a status {sorted(map(str, unknown))[0]!r}"
            if unknown
            else f"{empty.sum()} scores that are ok without a value"
        )
        raise BrokenTable(
            problem=f"The table of scores contains {fault}.",
            reason=f"The status of a score is one of {', '.join(STATUSES)}. A score has a finite value if its status is ok.",
            fix="Delete scores/ and scores.parquet in results/<study>/ and run the study again: it computes all scores again. "
            "If the error comes back, the metric of these rows has an error.",
        )


def combination_codes(frame: pd.DataFrame, columns: Sequence[str]) -> CodeArray:  # (n)
    """Number the distinct combinations of the columns that exist, from 0, in order of appearance; one code per row."""
    code = np.zeros(len(frame), dtype=np.int64)
    for column in columns:
        if column in frame:
            column_code = pd.factorize(frame[column], use_na_sentinel=False)[0].astype(np.int64)
            code = pd.factorize(code * (column_code.max(initial=0) + 1) + column_code)[0].astype(np.int64)
    return code


def average_copies(scores: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return the rows that are ok, with the copies of a map averaged to one row."""
    ok = scores[scores["status"] == "ok"].reset_index(drop=True)
    code = combination_codes(ok, [*keys, *SEED_COLUMNS, "image_id"])
    size = np.bincount(code)
    if (size <= 1).all():
        return ok
    first = np.full(len(size), len(ok))
    np.minimum.at(first, code, np.arange(len(ok)))
    values = ok["value"].to_numpy(np.float64)
    if "copy" not in ok or (np.bincount(combination_codes(ok, [*keys, *SEED_COLUMNS, "image_id", "copy"])) > 1).any():
        raise BrokenTable(
            problem="An image has two scores of the same method, model and metric, and they are not shuffled copies of a map.",
            reason="The image would count twice in every average.",
            fix="Delete scores/ and scores.parquet in results/<study>/ and run the study again: it computes all scores again. "
            f"If you call this function yourself, give more columns than {', '.join(keys)}.",
        )
    return ok.iloc[first].assign(value=np.bincount(code, values) / size)


def intervals_by_cell(
    frame: pd.DataFrame,
    keys: Sequence[str],
    rule: IntervalRule = DEFAULT_RULE,
    bounds: Bounds | Mapping[str, Bounds] = UNBOUNDED,
    bounds_by: str = "metric",
) -> pd.DataFrame:
    """Return one row per cell of `keys`: the mean of the column `value`, its interval, and its numbers of images, groups and seeds.

    `frame` has one row per image and run with the columns value, group, image_id and those of SEED_COLUMNS. `bounds` are
    those of all values, or by the column `bounds_by`.
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
    names = table[bounds_by].astype(str) if bounds_by in table else [""] * len(table)
    own_bounds = [bounds if isinstance(bounds, Bounds) else bounds.get(name, UNBOUNDED) for name in names]
    intervals = zip(_intervals_in_bounds(cells, rule, own_bounds), seeds, strict=True)
    rows = [tuple(interval_columns(interval, own).values()) for interval, own in intervals]
    return table.join(pd.DataFrame(rows, columns=list(INTERVAL_COLUMNS)))


def _intervals_in_bounds(cells: Sequence[MeasuredCell], rule: IntervalRule, bounds: Sequence[Bounds]) -> list[Interval]:
    """Return the interval of every cell; those of equal bounds are made together."""
    places: dict[Bounds, list[int]] = {}
    for place, own in enumerate(bounds):
        places.setdefault(own, []).append(place)
    found = dict[int, Interval]()
    for own, at in places.items():
        found |= zip(at, make_intervals([cells[place] for place in at], rule, own), strict=True)
    return [found[place] for place in range(len(cells))]


def _sums_by_group_and_run(
    values: NDArray[np.float64], group: CodeArray, run: CodeArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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


SIGN_OF_BETTER = {"higher": 1.0, "lower": -1.0}
MetricVariant = tuple[str, str]  # metric, variant
LESION_SIZES = ("small", "medium", "large")


def lesion_size(manifest: pd.DataFrame, image_ids: Iterable[str]) -> pd.Series:
    """Return small, medium or large by image_id, for those of `image_ids` that have a lesion.

    The bounds are terciles of the lesion's share over these images, not over scores, so that a stratum has the same
    images for every method.
    """
    share = manifest.set_index("image_id")["lesion_share"].loc[list(dict.fromkeys(image_ids))]
    share = share[share > 0]
    if share.empty:
        return pd.Series(dtype=str)
    bounds = np.quantile(share, [1 / 3, 2 / 3])
    return pd.Series(np.array(LESION_SIZES)[np.searchsorted(bounds, share, side="left")], index=share.index)


def add_lesion_sizes(parts: Iterable[pd.DataFrame], sizes: pd.Series) -> Iterator[pd.DataFrame]:
    """Add the column lesion_size to every part, from sizes by image_id; images without a lesion have none."""
    return map(partial(_add_lesion_size, sizes=sizes), parts)


def _add_lesion_size(scores: pd.DataFrame, sizes: pd.Series) -> pd.DataFrame:
    return scores.assign(lesion_size=scores["image_id"].map(sizes))


SCORE_COLUMNS = (  # columns of scores that statistics and figures read
    "arch", "seed", "arch2", "seed2", "method", "copy", "layer", "target", "metric", "variant", "image_id", "group", "part", "label",
    "correct", "value", "status",
)  # fmt: skip
CURVE_KEYS = ("arch", "method", "imputer", "order", "fraction")


def mean_curves(parts: Iterable[pd.DataFrame], rule: IntervalRule = DEFAULT_RULE) -> pd.DataFrame:
    """Return the mean probability by architecture, method, imputer, order and share removed, with its interval.

    Each part has a row per image and point, as in curves.parquet, and all rows of its curves. Along a curve the images are
    the same, so the intervals move together: they are a band for each point, not for the complete curve. Cost: 0.2 ms per
    point.
    """
    table = pd.concat(map(partial(_mean_curves_of_part, rule=rule), parts), ignore_index=True)
    return table.sort_values(list(CURVE_KEYS), kind="stable")


def _mean_curves_of_part(points: pd.DataFrame, rule: IntervalRule) -> pd.DataFrame:
    means = intervals_by_cell(points.assign(value=points["probability"]), CURVE_KEYS, rule, PROPORTION)
    return means.astype(dict.fromkeys(CURVE_KEYS[:-1], "str"))
