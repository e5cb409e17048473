"""Scores side by side: a row per image and model, a column per method, a sheet per metric and variant.

Every sheet has the same rows and columns, and on every sheet the higher number is the better one. Of copies of a map only
the first takes part: an average of five is no map. Where a method stands at several layers, each is a column.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.registry import SHUFFLED
from gradfaith.stats.cells import Codes, check, codes
from gradfaith.stats.jackknife import Floats

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
