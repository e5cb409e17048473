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

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd

from gradfaith.errors import BrokenTable
from gradfaith.stats.interval_scales import DEFAULT_RULE, PROPORTION, Bounds, IntervalRule
from gradfaith.stats.intervals import (
    INTERVAL_COLUMNS,
    SEED_COLUMNS,
    add_intervals,
    combination_codes,
    intervals_by_cell,
    measure_by_cell,
)
from gradfaith.stats.spread import NO_IMAGES, FloatArray
from gradfaith.vocabulary import LESION_SIZES, STATUSES

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
    table = fill_empty_cells(add_intervals(table, rule, rule.bounds)).fillna({"reason": NO_IMAGES})
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
    cells = measure_by_cell(average_copies(scores, keys), keys, rule)
    return _count_statuses(scores, keys).merge(cells, on=list(keys), how="left")


def fill_empty_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Set the counts of images, groups and seeds to 0 in cells without a value; the caller gives the reason."""
    counts = table[["n_images", "n_groups", "n_seeds"]].fillna(0).astype(np.int64)
    return table.assign(**{str(name): counts[name] for name in counts}).fillna(
        {"seeds": "", "seed_values": "", "interval": ""}
    )


def _count_statuses(scores: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Count the scores of every cell by status; a cell without any ok score has a row too."""
    cell = combination_codes(scores, keys)
    n, first = int(cell.max(initial=-1)) + 1, np.unique(cell, return_index=True)[1]
    table = scores.iloc[first][list(keys)].reset_index(drop=True).assign(**{FIRST_ROW: scores.index[first]})
    for status in STATUSES:
        table[f"n_{status}"] = np.bincount(cell[scores["status"].to_numpy() == status], minlength=n)
    return table


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


SIGN_OF_BETTER = {"higher": 1.0, "lower": -1.0}
MetricVariant = tuple[str, str]  # metric, variant


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


def is_best_possible(values: FloatArray, better: str, bounds: Bounds) -> bool:
    """Return whether all of some values are the best that the metric can have."""
    best = bounds.high if SIGN_OF_BETTER[better] > 0 else bounds.low
    return bool(np.isfinite(best) and len(values) and np.allclose(values, best, rtol=0, atol=1e-12))
