"""Scores become estimates: per cell the mean over images, its interval, and what was lost on the way.

A cell is an architecture (or a pair), method, layer, target, metric and variant; with `by`, also a stratum of the images
such as the label or a bin of lesion size, beside the whole ("all"). An average is over the scores that are ok; the others
are counted by status and never dropped in silence (n_* count scores, so the five copies of a shuffled map count five
times). Methods whose counts differ are averaged over different images: compare them by contrasts.py, which pairs.
Intervals: stats/intervals.py. Cost: 0.2 ms per cell and stratum, about 1 s for 300,000 scores.

From rows of a table to one interval per cell: the step that estimates, contrasts and ranks share.

    rows with a value -> cells (a combination of keys) -> sums by group and run -> stats/intervals.py

Copies of a control are averaged within an image first, so that five shuffled maps weigh as much as one other map and do
not pass for five images. Strings become whole numbers once, for the whole table; a cell then costs about 0.2 ms.

Scores side by side: a row per image and model, a column per method, a sheet per metric and variant.

Every sheet has the same rows and columns, and on every sheet the higher number is the better one. Of copies of a map only
the first takes part: an average of five is no map. Where a method stands at several layers, each is a column.

Strata of lesion size: terciles over the images of the study that have a lesion.

The bounds are taken over images, not over scores, so that a stratum holds the same images for every method. An image
without a lesion belongs to none.

Mean curves: what the model says of the class as more and more of the image is taken away.

    at each share removed: the mean over images of the class's probability, with the interval of any estimate (stats/intervals.py)

Along a curve the images are the same, so its intervals move together: they are a band for each point, not for the whole curve.
Cost: 0.2 ms per point.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.errors import BrokenTable
from gradfaith.stats.intervals import EMPTY, HOUSE, Floats, Interval, Rule, Run, from_sums
from gradfaith.vocabulary import SHUFFLED

KEYS = ("arch", "arch2", "method", "layer", "target", "metric", "variant")
WHOLE = "all"


def estimates(
    scores: pd.DataFrame, keys: Sequence[str] = KEYS, by: Sequence[str] = (), rule: Rule = HOUSE
) -> pd.DataFrame:
    """One row per cell, for all images and for every stratum of each column in `by` (rows without one are left out)."""
    check(scores)
    keys = [key for key in keys if key in scores]
    tables = [_estimates(scores, keys, rule).assign(by="", stratum=WHOLE)]
    for column in by:
        known = scores[scores[column].notna()]
        table = _estimates(known, [*keys, *([] if column in keys else [column])], rule)
        tables.append(
            table.assign(by=column, stratum=table[column].astype(str)).drop(
                columns=set(by) - set(keys), errors="ignore"
            )
        )
    table = pd.concat(tables, ignore_index=True)
    return table[[*keys, "by", "stratum", *FOUND, *(f"n_{status}" for status in STATUSES)]]


def _estimates(scores: pd.DataFrame, keys: Sequence[str], rule: Rule) -> pd.DataFrame:
    table = _counts(scores, keys).merge(intervals(average_copies(scores, keys), keys, rule), on=list(keys), how="left")
    whole = ["n_images", "n_groups", "n_seeds"]
    table[whole] = table[whole].fillna(0).astype(np.int64)
    return table.fillna({"seeds": "", "interval": "", "reason": EMPTY})


def _counts(scores: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Every cell there is, whether or not anything in it is ok."""
    cell = codes(scores, keys)
    n, first = int(cell.max(initial=-1)) + 1, np.unique(cell, return_index=True)[1]
    table = scores.iloc[first][list(keys)].reset_index(drop=True)
    for status in STATUSES:
        table[f"n_{status}"] = np.bincount(cell[scores["status"].to_numpy() == status], minlength=n)
    return table


STATUSES = ("ok", "undefined", "degenerate", "failed")
RUN = ("seed", "seed2")
FOUND = ("value", "low", "high", "se", "df", "p", "n_images", "n_groups", "n_seeds", "seeds", "interval", "reason")
Codes = NDArray[np.int64]


def check(scores: pd.DataFrame) -> None:
    """Refuse a status that is none, and an "ok" without a finite value."""
    unknown = set(scores["status"].unique()) - set(STATUSES)
    empty = (scores["status"].to_numpy() == "ok") & ~np.isfinite(scores["value"].to_numpy(np.float64))
    if unknown or empty.any():
        what = (
            f"a status {sorted(map(str, unknown))[0]!r}"
            if unknown
            else f"{empty.sum()} scores that are ok without a value"
        )
        raise BrokenTable(
            found=f"The scores hold {what}.",
            why=f"A score is one of {', '.join(STATUSES)}, and has a finite value only if it is ok.",
            then="Remake the score tables; if this stays, the metric that wrote the row is at fault.",
        )


def codes(frame: pd.DataFrame, columns: Sequence[str]) -> Codes:  # (n)
    """A number for every distinct combination of the columns that exist, from 0, in order of appearance."""
    code = np.zeros(len(frame), dtype=np.int64)
    for column in columns:
        if column in frame:
            own = pd.factorize(frame[column], use_na_sentinel=False)[0].astype(np.int64)
            code = pd.factorize(code * (own.max(initial=0) + 1) + own)[0].astype(np.int64)
    return code


def average_copies(scores: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The rows that are ok, with the copies of a map averaged to one row."""
    ok = scores[scores["status"] == "ok"].reset_index(drop=True)
    code = codes(ok, [*keys, *RUN, "image_id"])
    size = np.bincount(code)
    if (size <= 1).all():
        return ok
    first = np.full(len(size), len(ok))
    np.minimum.at(first, code, np.arange(len(ok)))
    values = ok["value"].to_numpy(np.float64)
    if "copy" not in ok or (np.bincount(codes(ok, [*keys, *RUN, "image_id", "copy"])) > 1).any():
        raise BrokenTable(
            found="An image has two scores of one method, model and metric that are not copies.",
            why="It would count twice in every average.",
            then=f"Remake the score tables, or estimate by more than {', '.join(keys)}.",
        )
    return ok.iloc[first].assign(value=np.bincount(code, values) / size)


def intervals(frame: pd.DataFrame, keys: Sequence[str], rule: Rule = HOUSE) -> pd.DataFrame:
    """One row per cell of `keys`: what was found, and what it rests on. `frame` has one row per image and run."""
    present = [key for key in keys if key in frame]
    cell, group, run = codes(frame, keys), codes(frame, ["group"]), codes(frame, RUN)
    image, values = codes(frame, ["image_id"]), frame["value"].to_numpy(np.float64)
    runs = _names(frame, run)
    order = np.argsort(cell, kind="stable")
    ends = np.cumsum(np.bincount(cell)) if len(frame) else np.empty(0, dtype=np.int64)
    firsts, rows = [], []
    for start, end in zip([0, *ends[:-1]], ends, strict=False):
        at = order[start:end]
        own, inside = np.unique(run[at], return_inverse=True)
        there = [runs[code] for code in own]
        sums, counts = _sums(values[at], np.unique(group[at], return_inverse=True)[1], inside)
        rows.append(_row(from_sums(sums, counts, there, len(np.unique(image[at])), rule), there))
        firsts.append(at[0])
    table = frame.iloc[firsts][present].reset_index(drop=True)
    return table.join(pd.DataFrame(rows, columns=list(FOUND)))


def _sums(values: NDArray[np.float64], group: Codes, run: Codes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums and counts (g, r) of one cell."""
    shape = (int(group.max()) + 1, int(run.max()) + 1)
    flat = group * shape[1] + run
    sums, counts = np.bincount(flat, values, shape[0] * shape[1]), np.bincount(flat, minlength=shape[0] * shape[1])
    return sums.astype(np.float64).reshape(shape), counts.astype(np.float64).reshape(shape)


def _row(found: Interval, runs: list[Run]) -> tuple[object, ...]:
    seeds = " ".join(str(seed) for seed in sorted({seed for run in runs for seed in run}, key=str))
    sizes = (found.n_images, found.n_groups, found.n_seeds)
    return (found.mean, found.low, found.high, found.se, found.df, found.p, *sizes, seeds, found.interval, found.reason)


def _names(frame: pd.DataFrame, run: Codes) -> list[Run]:
    """The seeds of every run code: one, or two in a pair."""
    first = np.unique(run, return_index=True)[1]
    there = [column for column in RUN if column in frame]
    rows = frame.iloc[first][there].itertuples(index=False, name=None)
    return [tuple(seed for seed in row if not (pd.isna(seed) or seed == "")) for row in rows]


SIGN = {"higher": 1.0, "lower": -1.0}
UNIT = ("arch", "seed", "image_id")
Name = tuple[str, str]  # metric, variant


@dataclass(frozen=True)
class ByImage:
    """All of it."""

    about: pd.DataFrame  # (units): arch, seed, image_id, group, correct
    methods: Sequence[str]  # of the columns
    values: Mapping[Name, Floats]  # (units, methods); NaN: no value
    asked: Mapping[Name, NDArray[np.bool_]]  # (units, methods): there is a score, whatever its status

    def primary(self, metric: str) -> Name:
        """The first variant of a metric."""
        return next(name for name in self.values if name[0] == metric)

    def rows(self, which: NDArray[np.bool_]) -> "ByImage":
        about = self.about[which].reset_index(drop=True)
        values = {name: table[which] for name, table in self.values.items()}
        return ByImage(about, self.methods, values, {name: table[which] for name, table in self.asked.items()})

    def ignorant(self, controls: Sequence[str]) -> NDArray[np.bool_]:  # (methods)
        """Which columns know nothing of the model."""
        return np.array([name in controls or name.startswith(SHUFFLED) for name in self.methods], dtype=bool)


def side_by_side(scores: pd.DataFrame, better: Mapping[str, str]) -> ByImage:
    """Scores of single models on the metrics of which one end is better."""
    check(scores)
    wanted = scores["metric"].map(better).isin(SIGN) & (scores["copy"] == 0)
    own = scores[wanted].reset_index(drop=True)
    unit, column = codes(own, UNIT), codes(own, ["method", "layer"])
    about = own.iloc[_firsts(unit)][[*UNIT, "group", "correct"]].reset_index(drop=True)
    shape, values, asked = (len(about), int(column.max(initial=-1)) + 1), {}, {}
    sign = own["metric"].map(better).map(SIGN).to_numpy(np.float64)
    number = np.where(own["status"].to_numpy() == "ok", sign * own["value"].to_numpy(np.float64), np.nan)
    for (metric, variant), part in own.groupby(["metric", "variant"], sort=False, observed=True):
        at = part.index.to_numpy()
        sheet, there = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
        sheet[unit[at], column[at]], there[unit[at], column[at]] = number[at], True
        values[str(metric), str(variant)], asked[str(metric), str(variant)] = sheet, there
    return ByImage(about, list(own.iloc[_firsts(column)]["method"]), values, asked)


def _firsts(code: Codes) -> Codes:
    """Where each code stands first, in the order of the codes."""
    first: Codes = np.unique(code, return_index=True)[1]
    return first


SIZES = ("small", "medium", "large")


def lesion_size(manifest: pd.DataFrame, image_ids: pd.Series) -> pd.Series:
    """image_id -> small, medium or large, for those of `image_ids` that have a lesion."""
    share = manifest.set_index("image_id")["lesion_share"].loc[image_ids.unique()]
    share = share[share > 0]
    if share.empty:
        return pd.Series(dtype=str)
    bounds = np.quantile(share, [1 / 3, 2 / 3])
    return pd.Series(np.array(SIZES)[np.searchsorted(bounds, share, side="left")], index=share.index)


CURVE_KEYS = ("arch", "method", "imputer", "order", "fraction")


def mean_curves(points: pd.DataFrame, rule: Rule = HOUSE) -> pd.DataFrame:
    """One row per architecture, method, imputer, order and share. `points`: a row per image, as in curves.parquet."""
    test = points[points["part"] == "test"].reset_index(drop=True)
    return intervals(test.assign(value=test["probability"]), CURVE_KEYS, rule).sort_values(
        list(CURVE_KEYS), kind="stable"
    )
