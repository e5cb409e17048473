"""Paired contrasts: is a method better than one that knows nothing, on the same images of the same models?

    value = mean over images of (method - control)          the interval is that of the differences (stats/intervals.py)
    share_better: of the images where the method is better; ties count half

Every method meets every control and its own shuffles (`shuffled-<method>`); a control meets its own shuffles too, where
they exist: what ignorance gains over them is the bias of the shuffling. Pairs share architecture, seed, metric, variant,
target and image, and the layer where the control has that layer (else the control's layers are averaged, as its copies
are). Both must be ok: n_lost counts the method's maps that found no partner or had no value.

The primary contrast is named beforehand and read at its own p. All others are read at p_holm, Holm's step-down adjustment
over the whole family of contrasts in the table [holm1979]. Cost: 0.2 ms per contrast and cell.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from gradfaith.metrics.maps.randomisation import NAME as RANDOMISATION
from gradfaith.stats.estimates import FOUND, RUN, Codes, check, codes, intervals
from gradfaith.stats.intervals import EMPTY, HOUSE, Rule
from gradfaith.vocabulary import SHUFFLED

CONTEXT = ("arch", "arch2", "target", "metric", "variant")
KEYS = (*CONTEXT, "layer")
COLUMNS = ("method", "against", *FOUND, "n_lost", "share_better", "p_holm", "primary")
SIGN = {"higher": 1.0, "lower": -1.0}
Floats = NDArray[np.float64]


def contrasts(
    scores: pd.DataFrame,
    controls: Sequence[str],
    better: Mapping[str, str],
    primary: Mapping[str, str] | None = None,
    rule: Rule = HOUSE,
) -> pd.DataFrame:
    """One row per cell, method and opponent. `better`: metric -> higher, lower or neither; `primary`: column -> value."""
    check(scores)
    paired = _Paired.of(scores)
    tables = []
    for method, against in opponents(paired.methods, controls):
        frame = _differences(paired, method, against, better)
        if len(frame):
            tables.append(_contrast(frame, rule).assign(method=method, against=against))
    keys = [key for key in KEYS if key in scores]
    if not tables:
        return pd.DataFrame(columns=[*keys, *COLUMNS])
    table = pd.concat(tables, ignore_index=True)
    named = np.full(len(table), primary is not None)
    for column, value in (primary or {}).items():
        named &= table[column].to_numpy() == value
    return table.assign(p_holm=holm(table["p"]), primary=named)[[*keys, *COLUMNS]]


def comparable(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores that a control has too, without chance levels and agreement's reference, a part of its pairs.

    Agreement across architectures is left out as well: it is described beside its chance level and not tested, for every
    pair would bring a whole family of contrasts and make each of the others harder to show.
    """
    alone = scores["variant"].isin(["between-images", "reference", "by-area"]) | (scores["metric"] == RANDOMISATION)
    across = ~(scores["arch2"].isin([""]) | (scores["arch2"] == scores["arch"]))
    return scores[~(alone | across)].reset_index(drop=True)


def opponents(methods: Sequence[str], controls: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Who is compared with whom."""
    for method in methods:
        if method.startswith(SHUFFLED):
            continue
        rivals = [] if method in controls else [control for control in controls if control in methods]
        shuffled = SHUFFLED + method
        yield from ((method, rival) for rival in [*rivals, *([shuffled] if shuffled in methods else [])])


def holm(p: ArrayLike) -> Floats:
    """Holm's adjusted p-values; NaN (no test) stays NaN and is not counted in the family."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")[: int(np.isfinite(values).sum())]
    adjusted = np.full(values.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted


@dataclass(frozen=True)
class _Paired:
    """Scores side by side: a row per image, model, metric and layer, a column per method."""

    about: pd.DataFrame  # (rows): the context, layer, run, image and group
    methods: list[str]
    values: Floats  # (rows, methods), copies averaged; NaN: no value
    asked: NDArray[np.bool_]  # (rows, methods): there is a score, whatever its status
    anywhere: Floats  # (units, methods): the same, averaged over layers
    unit: Codes  # (rows): the row of `anywhere`

    @classmethod
    def of(cls, scores: pd.DataFrame) -> "_Paired":
        base = [*CONTEXT, *RUN, "image_id"]
        row = codes(scores, [*base, "layer"])
        about = scores.iloc[np.unique(row, return_index=True)[1]]
        column, methods = pd.factorize(scores["method"])
        value = np.where(scores["status"].to_numpy() == "ok", scores["value"].to_numpy(np.float64), np.nan)
        values, asked = _wide(row, column.astype(np.int64), value, (len(about), len(methods)))
        unit = codes(about, base)
        at, what = np.nonzero(asked)
        anywhere, _ = _wide(unit[at], what, values[at, what], (int(unit.max(initial=-1)) + 1, len(methods)))
        return cls(about.reset_index(drop=True), list(methods), values, asked, anywhere, unit)

    def side_by_side(self, rows: Codes, method: str, against: str) -> tuple[Floats, Floats]:
        own, other = self.methods.index(method), self.methods.index(against)
        same_layer = self.asked[rows, other]
        return self.values[rows, own], np.where(
            same_layer, self.values[rows, other], self.anywhere[self.unit[rows], other]
        )


def _wide(row: Codes, column: Codes, value: Floats, shape: tuple[int, int]) -> tuple[Floats, NDArray[np.bool_]]:
    flat, size, ok = row * shape[1] + column, shape[0] * shape[1], np.isfinite(value)
    n = np.bincount(flat[ok], minlength=size)
    with np.errstate(invalid="ignore"):
        means = np.bincount(flat[ok], value[ok], size) / n
    return means.reshape(shape), (np.bincount(flat, minlength=size) > 0).reshape(shape)


def _differences(paired: _Paired, method: str, against: str, better: Mapping[str, str]) -> pd.DataFrame:
    """One row per map of the method: its value minus its partner's, which of them is better, or that the pair is lost."""
    rows = np.flatnonzero(paired.asked[:, paired.methods.index(method)])
    own, other = paired.side_by_side(rows, method, against)
    about = paired.about.iloc[rows].reset_index(drop=True)
    sign = about["metric"].map(better).map(SIGN).to_numpy(np.float64)
    difference = own - other
    return about.assign(value=difference, better=(1 + np.sign(sign * difference)) / 2, lost=np.isnan(difference))


def _contrast(frame: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    keys = [key for key in KEYS if key in frame]
    cells = frame.groupby(keys, dropna=False, sort=False, observed=True)
    table = cells.agg(n_lost=("lost", "sum"), share_better=("better", "mean")).reset_index()
    table = table.merge(intervals(frame[~frame["lost"]], keys, rule), on=keys, how="left")
    whole = ["n_images", "n_groups", "n_seeds"]
    table[whole] = table[whole].fillna(0).astype(np.int64)
    return table.fillna({"seeds": "", "interval": "", "reason": EMPTY})
