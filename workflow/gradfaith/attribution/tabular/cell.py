"""Fit, ask and explain one model on one table: the work of the rules `table_train` and `table_explain`.

Every model of a study sees the same rows, explains the same test rows, and has the same background, so differences between models
are not differences between rows. Explained rows are drawn evenly from the groups: one row of each group in a random order, then a
second one, until there are enough.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from gradfaith import rng
from gradfaith.attribution.tabular.contract import MethodUseOnTable, RowsToExplain, explain_rows
from gradfaith.config.study import PluginUse
from gradfaith.config.tabular import TableExplainSettings
from gradfaith.data.tabular.columns import FEATURE, ROW_TARGET
from gradfaith.errors import DatasetInvalid, name_some
from gradfaith.models.tabular.contract import Encoding, FittedModel, Matrix, TrainingTable, fit_model, sigmoid
from gradfaith.vocabulary import BINARY, QUARTERS, Task

GRID = 41  # points along each side of the decision boundary


@dataclass(frozen=True)
class TableRows:
    """The rows of a table by id, with their part of the split."""

    table: pd.DataFrame  # by image_id: target, x:<feature>, t:<feature>
    part: pd.Series  # by image_id

    @classmethod
    def of(cls, table: pd.DataFrame, splits: pd.DataFrame) -> "TableRows":
        """Return the rows of a stored table and its split."""
        return cls(table.set_index("image_id"), splits.set_index("image_id")["part"])

    @cached_property
    def features(self) -> list[str]:
        """Return the names of the features in order."""
        return [name.removeprefix(FEATURE) for name in map(str, self.table) if name.startswith(FEATURE)]

    def ids(self, part: str) -> list[str]:
        """Return the ids of a part, in the order of the table."""
        return [name for name in self.table.index if self.part.get(name) == part]

    def matrix(self, part: str = "", ids: Sequence[str] = ()) -> Matrix:
        """Return the features of a part, of some rows, or of all."""
        chosen = list(ids) or (self.ids(part) if part else list(self.table.index))
        return self.table.loc[chosen, [FEATURE + name for name in self.features]].to_numpy(np.float64)

    def target(self, part: str) -> Matrix:
        """Return the target of a part."""
        return self.table.loc[self.ids(part), ROW_TARGET].to_numpy(np.float64)


def fit_on_table(
    rows: TableRows, columns: Sequence[Mapping[str, Any]], model: PluginUse, task: Task, seed: int
) -> FittedModel:
    """Return a model, fitted to the training part; `columns`: what is known of the columns (data/tabular/columns.py)."""
    categories = [len(column["categories"]) for column in columns if column["used"]]
    encoding = Encoding.of(rows.matrix("train"), categories)
    data = TrainingTable(
        rows.matrix("train"), rows.target("train"), rows.matrix("val"), rows.target("val"),
        encoding, task == "classification", seed,
    )  # fmt: skip
    tensors, offset, factor = fit_model(model.use, model.options, data)
    return FittedModel(model.use, tensors, encoding, "logit" if data.classification else None, offset, factor)


def predict_table(rows: TableRows, model: FittedModel, manifest: pd.DataFrame) -> pd.DataFrame:
    """Return a prediction per row. A regression predicts the quarter of the target, with the training part's borders."""
    raw, of_row = model.raw(rows.matrix()), manifest.set_index("image_id").loc[rows.table.index]
    found = pd.DataFrame({"image_id": rows.table.index, "raw": raw, "target": rows.table[ROW_TARGET].to_numpy()})
    if model.scale is None:
        borders = np.quantile(rows.target("train"), (0.25, 0.5, 0.75))
        predicted = np.array(QUARTERS)[np.searchsorted(borders, raw)]
    else:
        positive = sigmoid(raw)
        predicted = np.array(BINARY)[(positive > 0.5).astype(np.int64)]
        found = found.assign(
            **{f"probability_{name}": value for name, value in zip(BINARY, (1 - positive, positive), strict=True)}
        )
    found = found.assign(
        group=of_row["group"].to_numpy(), label=of_row["label"].to_numpy(), predicted=predicted, seconds=np.nan
    )  # not measured
    found["part"] = rows.part.reindex(rows.table.index).to_numpy()
    return found.assign(correct=found["predicted"] == found["label"])


def explain_table(
    rows: TableRows,
    manifest: pd.DataFrame,
    model: FittedModel,
    settings: TableExplainSettings,
    model_seed: int | None = None,
) -> pd.DataFrame:
    """Return the attributions of all methods, with the answer to every row and the mean answer over the background.

    `model_seed`: as of `explain_rows`.
    """
    how, training = settings.explain, rows.matrix("train")
    random = rng.generator(settings.seed, "background")
    background = training[random.choice(len(training), size=min(how.background, len(training)), replace=False)]
    group = manifest.set_index("image_id")["group"]
    ids = choose_rows(rows.ids("test"), [group[name] for name in rows.ids("test")], how.rows, settings.seed)
    parts = RowsToExplain(ids, rows.matrix(ids=ids), background, training, rows.features)
    methods = {label: MethodUseOnTable(use.use, use.options) for label, use in settings.methods.items()}
    found = explain_rows(
        model, parts, methods, seed=settings.seed, copies=how.copies, repeats=how.repeats, model_seed=model_seed
    )
    answers = pd.Series(model.answers(parts.rows), index=ids)
    return found.assign(answer=found["image_id"].map(answers), base=float(model.answers(background).mean()))


def choose_rows(ids: Sequence[str], groups: Sequence[str], most: int, seed: int) -> list[str]:
    """Return at most so many rows, evenly from the groups."""
    order = rng.generator(seed, "explained-rows").permutation(len(ids))
    table = pd.DataFrame({"id": np.array(ids)[order], "group": np.array(groups)[order]})
    table["turn"] = table.groupby("group").cumcount()
    chosen = table.sort_values("turn", kind="stable")["id"].head(most)
    return sorted(chosen)


def check_boundary(features: Sequence[str], numbers: Sequence[str]) -> None:
    """Raise an error unless the features of the decision boundary are among the table's numbers."""
    if wrong := [name for name in features if name not in numbers]:
        raise DatasetInvalid(
            problem=f"explain.boundary: {name_some(wrong)} is no numeric feature of the table; it has {name_some(numbers)}.",
            reason="The decision boundary is drawn over two features whose values have an order.",
            fix="Name two of these features, or none.",
        )


def boundary_grid(
    rows: TableRows, columns: Sequence[Mapping[str, Any]], model: FittedModel, features: Sequence[str]
) -> pd.DataFrame:
    """Return the answers on a grid of two numeric features; all others stay at their median, or their commonest category.

    Without `features`: the first two numbers of the table. A table with fewer has an empty grid.
    """
    used = [column for column in columns if column["used"]]
    numbers = [column["name"] for column in used if column["kind"] == "number"]
    check_boundary(features, numbers)
    chosen = list(features) or numbers[:2]
    if len(chosen) < 2:
        return pd.DataFrame({"first": [], "second": [], "x": [], "y": [], "answer": []})
    training = rows.matrix("train")
    centre = np.median(training, axis=0)
    places = [rows.features.index(name) for name in chosen]
    for place, column in enumerate(used):
        if column["kind"] == "category":
            centre[place] = np.bincount(training[:, place].astype(np.int64)).argmax()
    ends = [np.quantile(training[:, place], (0.01, 0.99)) for place in places]
    sides = [np.linspace(low, high, GRID) for low, high in ends]
    x, y = (side.ravel() for side in np.meshgrid(*sides))
    grid = np.tile(centre, (len(x), 1))
    grid[:, places[0]], grid[:, places[1]] = x, y
    return pd.DataFrame({"first": chosen[0], "second": chosen[1], "x": x, "y": y, "answer": model.answers(grid)})
