"""A small table with a planted truth, models of every kind on it, and the rows that methods explain."""

from functools import cache

import numpy as np
import pandas as pd

from gradfaith import registry, rng
from gradfaith.attribution.tabular.contract import ExplainedRows, MethodUseOnTable, RowsToExplain, explain_rows
from gradfaith.data.tabular import census
from gradfaith.data.tabular.columns import EncodedTable, encode_table
from gradfaith.models.tabular.contract import Encoding, FittedModel, Matrix, TrainingTable, fit_model

KINDS = ("linear", "decision_tree", "boosted_trees", "feed_forward")
FEW = {"boosted_trees": {"trees": 15}, "feed_forward": {"epochs": 15, "width": 16}}  # options that fit in a blink


@cache
def table(task: str = "classification", people: int = 150, seed: int = 0, correlation: float = 0.6) -> EncodedTable:
    source = census.read(people=people, seed=seed, correlation=correlation, regression=task == "regression")
    return encode_table(source, task)  # type: ignore[arg-type]


def matrix(encoded: EncodedTable, start: str = "x:") -> Matrix:
    return encoded.rows.filter(regex=f"^{start}").to_numpy(np.float64)


def training(encoded: EncodedTable, seed: int = 0) -> TrainingTable:
    rows, target = matrix(encoded), encoded.rows["target"].to_numpy(np.float64)
    cut, end = int(0.6 * len(rows)), int(0.8 * len(rows))
    encoding = Encoding.of(rows[:cut], [len(column.categories) for column in encoded.features])
    return TrainingTable(
        rows[:cut], target[:cut], rows[cut:end], target[cut:end], encoding, bool(encoded.positive), seed
    )


@cache
def model(use: str, task: str = "classification", scale: str = "logit", people: int = 150) -> FittedModel:
    data = training(table(task, people))
    tensors, offset, factor = fit_model(use, {**_defaults(use), **FEW.get(use, {})}, data)
    return FittedModel(use, tensors, data.encoding, scale if data.classification else None, offset, factor)  # type: ignore[arg-type]


def _defaults(use: str) -> dict[str, object]:
    return {name: option.default for name, option in registry.entry("table_models", use).options.items()}


def explained(
    use: str, task: str = "classification", rows: int = 6, background: int = 8, scale: str = "logit"
) -> ExplainedRows:
    data, fitted = training(table(task)), model(use, task, scale)
    return ExplainedRows(
        fitted, matrix(table(task))[-rows:], data.rows[:background], data.rows, lambda row: rng.generator("test", row)
    )


def attribute(given: ExplainedRows, use: str, **options: object) -> Matrix:
    """Return the attributions of one method, with its defaults for all other options."""
    known = {name: option.default for name, option in registry.entry("table_methods", use).options.items()}
    found: Matrix = registry.load("table_methods", use).attribute(given, **(known | options))
    return found


def explain(
    given: ExplainedRows,
    methods: dict[str, MethodUseOnTable],
    repeats: int = 2,
    copies: int = 5,
    model_seed: int | None = None,
) -> pd.DataFrame:
    ids = [f"row-{row:06d}" for row in range(len(given.rows))]
    features = [f"f{place}" for place in range(given.features)]
    parts = RowsToExplain(ids, given.rows, given.background, given.training, features)
    return explain_rows(given.model, parts, methods, seed=0, copies=copies, repeats=repeats, model_seed=model_seed)
