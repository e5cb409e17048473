"""Win rates: how often a method has the best score of an image, and its mean rank, ties shared and counted.

    contest    one image of one model on one metric; every method that is compared takes part
    win        1/t for each of the t methods that share the best score, else 0                       [pham2025]
    rank       1 + the methods that are better + half of those that tie

A rate is the mean of the wins over images, its interval that of any estimate (stats/intervals.py): over groups, or groups and
seeds. Wins of a contest add up to 1. Scores nearer than TIE are level: maps are single precision, so that two methods that
are one by algebra differ by rounding. A contest counts where all who take part have a value; n_lost counts the others,
n_ties those where the method shares the first place. Of copies of a map only the first takes part: an average of five is no
map.

Controls take part `among` the methods, or `beside` them: then each control meets all methods alone, and its rate is what it
would win, while the methods' own rates are among themselves. The paper gives a tie to its first column (Grad-CAM, also
where no method hits anything), takes only images that the model gets right, and gives the mean over seeds with their
standard deviation. Cost: 0.5 ms per row of the result.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.stats.estimates import FOUND, RUN, WHOLE, check, codes, intervals
from gradfaith.stats.intervals import EMPTY, HOUSE, Rule
from gradfaith.vocabulary import SHUFFLED

CELL = ("arch", "arch2", "target", "metric", "variant")
MEASURES = ("win_rate", "mean_rank")
COUNTS = ("n_contests", "n_ties", "n_lost", "n_methods")
COLUMNS = (*CELL, "method", "beside", "by", "stratum", "measure", *(name for name in FOUND if name != "p"), *COUNTS)
SIGN = {"higher": 1.0, "lower": -1.0}
TIE = 1e-6
ALONE = "one method alone: nobody to win against"
Controls = Literal["beside", "among"]
Floats = NDArray[np.float64]


def winrates(
    scores: pd.DataFrame,
    controls: Sequence[str],
    better: Mapping[str, str],
    *,
    by: Sequence[str] = ("label",),
    place: Controls = "beside",
    only_correct: bool = False,
    rule: Rule = HOUSE,
) -> pd.DataFrame:
    """One row per cell, method, stratum and measure; metrics of which neither end is better are left out."""
    check(scores)
    asked = scores["metric"].map(better).isin(SIGN) & (scores["copy"] == 0)
    if only_correct:
        asked &= scores["correct"].fillna(False).astype(bool)
    tables = [
        _cell(own, SIGN[better[own["metric"].iloc[0]]], controls, by, place, rule)
        for _, own in scores[asked].groupby(list(CELL), sort=False, dropna=False, observed=True)
    ]
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)] if tables else pd.DataFrame(columns=list(COLUMNS))


def contest(values: Floats) -> tuple[Floats, Floats]:
    """Wins and ranks of complete contests (n, methods); the higher value is the better."""
    first = values >= values.max(axis=1, keepdims=True) - TIE
    ranks = np.empty_like(values)
    for place in range(values.shape[1]):
        ahead = values - values[:, [place]]
        level = (np.abs(ahead) <= TIE).sum(axis=1) - 1
        ranks[:, place] = 1 + (ahead > TIE).sum(axis=1) + level / 2
    return first / first.sum(axis=1, keepdims=True), ranks


def _cell(
    own: pd.DataFrame, sign: float, controls: Sequence[str], by: Sequence[str], place: Controls, rule: Rule
) -> pd.DataFrame:
    """All rates of one metric on one architecture."""
    about, names, values = _side_by_side(own, sign)
    frames = []
    for among, told, beside in _fields(names, controls, place):
        played = values[:, [names.index(name) for name in among]]
        complete = np.asarray(np.isfinite(played).all(axis=1))
        wins, ranks = contest(played[complete])
        for name in told:
            spot = among.index(name)
            frame = about.assign(method=name, beside=beside, n_methods=len(among), complete=pd.Series(complete))
            frame.loc[complete, "win_rate"], frame.loc[complete, "mean_rank"] = wins[:, spot], ranks[:, spot]
            frames.append(frame)
    contests = pd.concat(frames, ignore_index=True)
    rates = [_rates(contests, column, rule) for column in ("", *by)]
    return pd.concat(rates, ignore_index=True).assign(**{name: own[name].iloc[0] for name in CELL})


def _side_by_side(own: pd.DataFrame, sign: float) -> tuple[pd.DataFrame, list[str], Floats]:
    """A row per image and run, a column per method; NaN where there is no value."""
    row = codes(own, [*RUN, "image_id"])
    about = own.iloc[np.unique(row, return_index=True)[1]].drop(columns=["value", "method", "status", "reason"])
    column, names = pd.factorize(own["method"])
    values = np.full((len(about), len(names)), np.nan)
    ok = own["status"].to_numpy() == "ok"
    values[row[ok], column[ok]] = sign * own["value"].to_numpy(np.float64)[ok]
    return about.reset_index(drop=True), list(names), values


def _fields(
    names: Sequence[str], controls: Sequence[str], place: Controls
) -> Iterator[tuple[list[str], list[str], bool]]:
    """Who takes part, whose rates are told, and whether these are a control's beside the methods."""
    ignorant = [name for name in names if name in controls or name.startswith(SHUFFLED)]
    knowing = [name for name in names if name not in ignorant]
    if place == "among":
        yield list(names), list(names), False
        return
    if knowing:
        yield knowing, knowing, False
    yield from (([*knowing, name], [name], True) for name in ignorant)


def _rates(contests: pd.DataFrame, by: str, rule: Rule) -> pd.DataFrame:
    """Both measures of every method, over all images or by stratum."""
    known = contests.assign(by=by, stratum=contests[by] if by else WHOLE)
    ties = known["win_rate"].between(0, 1, inclusive="neither")
    known = known.assign(tie=ties, lost=~known["complete"])[known["stratum"].notna()]
    keys = ["method", "beside", "n_methods", "by", "stratum"]
    cells = known.groupby(keys, sort=False, observed=True)
    counts = cells.agg(n_contests=("complete", "sum"), n_ties=("tie", "sum"), n_lost=("lost", "sum")).reset_index()
    complete = known[known["complete"] & (known["n_methods"] > 1)]
    found = [
        counts.merge(intervals(complete.assign(value=complete[measure]), keys, rule), on=keys, how="left").assign(
            measure=measure
        )
        for measure in MEASURES
    ]
    table = pd.concat(found, ignore_index=True)
    whole = ["n_images", "n_groups", "n_seeds"]
    table[whole] = table[whole].fillna(0).astype(np.int64)
    why = pd.Series(np.where(table["n_methods"] > 1, EMPTY, ALONE))
    return table.fillna({"seeds": "", "interval": ""}).assign(reason=table["reason"].fillna(why))
