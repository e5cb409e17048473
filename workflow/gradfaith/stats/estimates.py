"""Scores become estimates: per cell the mean over images, its interval, and what was lost on the way.

A cell is an architecture (or a pair), method, layer, target, metric and variant; with `by`, also a stratum of the images
such as the label or a bin of lesion size, beside the whole ("all"). An average is over the scores that are ok; the others
are counted by status and never dropped in silence (n_* count scores, so the five copies of a shuffled map count five
times). Methods whose counts differ are averaged over different images: compare them by contrasts.py, which pairs.
Intervals: intervals.py. Cost: 0.2 ms per cell and stratum, about 1 s for 300,000 scores.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from gradfaith.stats.cells import FOUND, STATUSES, average_copies, check, codes, intervals
from gradfaith.stats.intervals import EMPTY, HOUSE, Rule

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
