"""Estimate win rates: how often a method has the best score of an image, and its mean rank; ties are shared and counted.

    contest    one image of one model on one metric; every method that is compared competes
    win        1/t for each of the t methods that share the best score, else 0                       [pham2025]
    rank       1 + the methods that are better + half of those that tie

A rate is the mean of the wins over images, with the interval of any estimate (stats/intervals.py): over groups, or groups
and seeds. Wins of a contest add up to 1. Scores that differ by less than TIE_TOLERANCE are tied: maps are single precision,
so methods that are algebraically equal differ by rounding. A contest counts if all members have a value; n_lost counts the
others, n_ties those in which the method shares the first place. Of the copies of a map only the first competes, because an
average of five copies is not a map.

Controls compete `among` the methods or `beside` them. Beside them, each control competes alone with all methods, and the
methods compete with each other only. Where we differ: the paper gives a tie to its first column (Grad-CAM, even if no method
hits anything), uses only correctly classified images, and reports the mean over seeds with their standard deviation. Cost:
0.5 ms per row of the result.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import pandas as pd

from gradfaith.stats.estimates import (
    ALL_IMAGES,
    FIRST_ROW,
    SIGN_OF_BETTER,
    check_scores,
    fill_empty_cells,
    in_order_of_rows,
    join_parts,
)
from gradfaith.stats.image_scores import CONTEXT_KEYS
from gradfaith.stats.interval_scales import DEFAULT_RULE, PROPORTION, Bounds, IntervalRule
from gradfaith.stats.intervals import INTERVAL_COLUMNS_WITHOUT_P, SEED_COLUMNS, combination_codes, intervals_by_cell
from gradfaith.stats.spread import NO_IMAGES, FloatArray
from gradfaith.vocabulary import SHUFFLED, ControlPlacement

WIN_RATE, MEAN_RANK = "win_rate", "mean_rank"
MEASURES = (WIN_RATE, MEAN_RANK)
COUNTS = ("n_contests", "n_ties", "n_lost", "n_methods")
WINRATE_COLUMNS = (
    *(*CONTEXT_KEYS, "method", "beside", "by", "stratum", "measure"), *INTERVAL_COLUMNS_WITHOUT_P, *COUNTS,
)  # fmt: skip
TIE_TOLERANCE = 1e-6  # scores that differ by less are tied
NO_OPPONENT = "only one method: there is no opponent"


def estimate_winrates(
    parts: Iterable[pd.DataFrame],
    controls: Sequence[str],
    better: Mapping[str, str],
    *,
    by: Sequence[str] = ("label",),
    control_placement: ControlPlacement = "beside",
    only_correct: bool = False,
    rule: IntervalRule = DEFAULT_RULE,
) -> pd.DataFrame:
    """Return the win rate and the mean rank of every method, by metric, architecture and stratum.

    Args:
        parts: scores as those of `estimate_scores`, with all methods of a metric and architecture in one part.
        better: metric -> higher, lower or neither; metrics with neither are left out.
        by: columns whose values are strata besides all images.
        only_correct: take only images that the model classifies correctly.
    """
    estimate = partial(
        _winrates_of_part, controls=controls, better=better, by=by, control_placement=control_placement,
        only_correct=only_correct, rule=rule,
    )  # fmt: skip
    tables = list(chain.from_iterable(map(estimate, parts)))
    if not tables:
        return pd.DataFrame(columns=list(WINRATE_COLUMNS))
    return in_order_of_rows(tables)[list(WINRATE_COLUMNS)]


def wins_and_ranks(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return wins and ranks of complete contests, both (n, methods) like `values`; the higher value is the better."""
    first = values >= values.max(axis=1, keepdims=True) - TIE_TOLERANCE
    ranks = np.empty_like(values)
    for place in range(values.shape[1]):
        ahead = values - values[:, [place]]
        tied = (np.abs(ahead) <= TIE_TOLERANCE).sum(axis=1) - 1
        ranks[:, place] = 1 + (ahead > TIE_TOLERANCE).sum(axis=1) + tied / 2
    return first / first.sum(axis=1, keepdims=True), ranks


class _Contest(NamedTuple):
    """The methods that compete, those whose rates are reported, and whether these are a control beside the methods."""

    members: list[str]
    reported: list[str]
    beside: bool


class _ScoresByMethod(NamedTuple):
    """The scores of one metric, with a row per image and run and a column per method."""

    rows: pd.DataFrame  # image, seed and the other columns of a score
    methods: list[str]
    values: FloatArray  # (rows, methods); NaN: no value


def _winrates_of_part(
    scores: pd.DataFrame,
    controls: Sequence[str],
    better: Mapping[str, str],
    by: Sequence[str],
    control_placement: ControlPlacement,
    only_correct: bool,
    rule: IntervalRule,
) -> list[pd.DataFrame]:
    """Return the rates of each metric on each architecture."""
    check_scores(scores)
    selected = scores["metric"].map(better).isin(SIGN_OF_BETTER) & (scores["copy"] == 0)
    if only_correct:
        selected &= scores["correct"].fillna(False).astype(bool)
    tables = []
    for _, rows in scores[selected].groupby(list(CONTEXT_KEYS), sort=False, dropna=False, observed=True):
        sign = SIGN_OF_BETTER[better[rows["metric"].iloc[0]]]
        rates = _winrates_of_metric(rows, sign, controls, by, control_placement, rule)
        tables.append(rates.assign(**{FIRST_ROW: rows.index[0]}))
    return tables


def _winrates_of_metric(
    scores: pd.DataFrame,
    sign: float,
    controls: Sequence[str],
    by: Sequence[str],
    control_placement: ControlPlacement,
    rule: IntervalRule,
) -> pd.DataFrame:
    """Return all rates of one metric on one architecture."""
    found: dict[tuple[str, str], list[pd.DataFrame]] = {
        (column, measure): [] for column in ("", *by) for measure in MEASURES
    }
    for contests in join_parts(_contest_rows(_pivot(scores, sign), controls, control_placement)):
        for (column, measure), tables in found.items():
            tables.append(_estimate_measure(contests, measure, column, rule))
    rates = pd.concat(chain.from_iterable(found.values()), ignore_index=True)
    return rates.assign(**{name: scores[name].iloc[0] for name in CONTEXT_KEYS})


def _contest_rows(
    pivoted: _ScoresByMethod, controls: Sequence[str], control_placement: ControlPlacement
) -> Iterator[pd.DataFrame]:
    """Yield the wins and ranks of every method that is reported, with a row per contest."""
    for contest in _contests(pivoted.methods, controls, control_placement):
        values = pivoted.values[:, [pivoted.methods.index(name) for name in contest.members]]
        complete = np.asarray(np.isfinite(values).all(axis=1))
        wins, ranks = wins_and_ranks(values[complete])
        for name in contest.reported:
            column = contest.members.index(name)
            frame = pivoted.rows.assign(
                method=name, beside=contest.beside, n_methods=len(contest.members), complete=pd.Series(complete)
            )
            frame.loc[complete, WIN_RATE], frame.loc[complete, MEAN_RANK] = wins[:, column], ranks[:, column]
            yield frame


def _pivot(scores: pd.DataFrame, sign: float) -> _ScoresByMethod:
    row = combination_codes(scores, [*SEED_COLUMNS, "image_id"])
    rows = scores.iloc[np.unique(row, return_index=True)[1]].drop(
        columns=["value", "method", "status", "reason", *CONTEXT_KEYS], errors="ignore"
    )
    column, methods = pd.factorize(scores["method"])
    values = np.full((len(rows), len(methods)), np.nan)
    ok = scores["status"].to_numpy() == "ok"
    values[row[ok], column[ok]] = sign * scores["value"].to_numpy(np.float64)[ok]
    return _ScoresByMethod(rows.reset_index(drop=True), list(methods), values)


def _contests(names: Sequence[str], controls: Sequence[str], control_placement: ControlPlacement) -> Iterator[_Contest]:
    """Yield the contests: which methods compete."""
    control_names = [name for name in names if name in controls or name.startswith(SHUFFLED)]
    methods = [name for name in names if name not in control_names]
    if control_placement == "among":
        yield _Contest(list(names), list(names), beside=False)
        return
    if methods:
        yield _Contest(methods, methods, beside=False)
    yield from (_Contest([*methods, name], [name], beside=True) for name in control_names)


def _estimate_measure(contests: pd.DataFrame, measure: str, by: str, rule: IntervalRule) -> pd.DataFrame:
    """Estimate one measure of every method, over all images or by stratum."""
    rows = contests.assign(by=by, stratum=contests[by] if by else ALL_IMAGES)
    ties = rows[WIN_RATE].between(0, 1, inclusive="neither")
    rows = rows.assign(tie=ties, lost=~rows["complete"])[rows["stratum"].notna()]
    keys = ["method", "beside", "n_methods", "by", "stratum"]
    cells = rows.groupby(keys, sort=False, observed=True)
    counts = cells.agg(n_contests=("complete", "sum"), n_ties=("tie", "sum"), n_lost=("lost", "sum")).reset_index()
    complete = rows[rows["complete"] & (rows["n_methods"] > 1)]
    ranks = {str(n): Bounds(1, n) for n in set(complete["n_methods"])}
    bounds = PROPORTION if measure == WIN_RATE else ranks
    intervals = intervals_by_cell(complete.assign(value=complete[measure]), keys, rule, bounds, "n_methods")
    table = fill_empty_cells(counts.merge(intervals, on=keys, how="left")).assign(measure=measure)
    reason = pd.Series(np.where(table["n_methods"] > 1, NO_IMAGES, NO_OPPONENT))
    return table.assign(reason=table["reason"].fillna(reason))
