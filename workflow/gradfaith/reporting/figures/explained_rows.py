"""Choose the explained row of a table that a figure shows, and return it as a reader knows it.

Figures show the explained row with the highest, the median or the lowest answer of the first seed's model: by a rule, never by eye.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.data.tabular.columns import FEATURE
from gradfaith.reporting.figures.contract import FigureInputs

RowPlace = Literal["highest", "median", "lowest"]  # of an explained row's answer


@dataclass(frozen=True)
class ExplainedRow:
    """One row of a table on one model, with the attribution of one method."""

    arch: str
    image_id: str
    features: list[str]
    values: list[str]  # as a reader knows them: a category's name, a number
    attribution: NDArray[np.float64]
    answer: float
    base: float  # the mean answer over the background


def first_runs(inputs: FigureInputs, arch: str, method: str) -> pd.DataFrame:
    """Return the first run of a method on the first model of an architecture, a row per explained row."""
    table = inputs.tables["attributions"]
    own = table[(table["arch"] == arch) & (table["method"] == method) & (table["repeat"] == 0) & (table["copy"] == 0)]
    return own[own["seed"] == min(inputs.seeds)].set_index("image_id") if len(own) else own.set_index("image_id")


def feature_names(table: pd.DataFrame) -> list[str]:
    """Return the features of a table of attributions or rows, in order."""
    return [name.removeprefix(FEATURE) for name in map(str, table) if name.startswith(FEATURE)]


def explained_row(inputs: FigureInputs, arch: str, method: str, place: RowPlace) -> ExplainedRow | None:
    """Return the explained row with the highest, the median or the lowest answer; None if the method has none on the model."""
    runs = first_runs(inputs, arch, method)
    if runs.empty:
        return None
    order = runs["answer"].sort_values(kind="stable").index
    name = str(order[{"lowest": 0, "median": len(order) // 2, "highest": -1}[place]])
    features = feature_names(runs)
    columns = [FEATURE + feature for feature in features]
    row = inputs.tables["table"].set_index("image_id").loc[name, columns].to_numpy(np.float64)
    numbers, known = (runs.loc[name, chosen].to_numpy(np.float64) for chosen in (columns, ["answer", "base"]))
    values = [value_text(inputs, feature, value) for feature, value in zip(features, row, strict=True)]
    return ExplainedRow(arch, name, features, values, numbers, float(known[0]), float(known[1]))


def value_text(inputs: FigureInputs, feature: str, value: float) -> str:
    """Return a feature's value as a reader knows it."""
    found: Any = next(column for column in inputs.audit["columns"] if column["name"] == feature)
    return str(found["categories"][int(value)]) if found["categories"] else f"{value:.6g}"


def answer_name(inputs: FigureInputs) -> str:
    """Return what is explained, for axes and notes."""
    positive = inputs.audit["positive"]
    return f"score of {positive}" if positive else "predicted value"
