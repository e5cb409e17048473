"""From rows of a table to one interval per cell: the step that estimates, contrasts and ranks share.

    rows with a value -> cells (a combination of keys) -> sums by group and run -> intervals.py

Copies of a control are averaged within an image first, so that five shuffled maps weigh as much as one other map and do
not pass for five images. Strings become whole numbers once, for the whole table; a cell then costs about 0.2 ms.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.errors import BrokenTable
from gradfaith.stats.intervals import HOUSE, Interval, Rule, from_sums
from gradfaith.stats.jackknife import Run

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
