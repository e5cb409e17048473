"""Define what a method for tables is, evaluate a model on coalitions of features, and explain the rows of one model.

    METHOD = TabularMethod(additive=True)
    def attribute(given: ExplainedRows, *, <options>) -> Matrix     one number per row and feature, with its sign

A method is one file in this folder; its stem is its name. A control does not read the model's answers. The value of a coalition
S of features at a row x is the mean answer over the background rows b, with the features of S from x and all others from b:

    v(S) = mean over b of f(x_S, b_rest)          v(nothing) = mean of f(b),  v(everything) = f(x)

This is the interventional (marginal) game of [lundberg2017]: features outside S are drawn as if they were independent of those
in S. An additive method's numbers add up to f(x) - v(nothing). Every random draw has a key of its own: the study's seed, the
method, the row, the repeat and the model's seed, so neither the order of rows nor other methods change a number, and the agreement
between two models contains the noise of the method. Cost: the rows of the background for every coalition.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith import registry, rng
from gradfaith.models.tabular.contract import FittedModel, Matrix
from gradfaith.vocabulary import SHUFFLED

Mask = NDArray[np.bool_]
ROWS_AT_ONCE = 200_000  # of a model's input
METHODS = "table_methods"  # the group of plug-ins
ATTRIBUTION_KEYS = ("method", "copy", "repeat", "image_id")


@dataclass(frozen=True)
class TabularMethod:
    """The declaration of a method or control.

    `control`: it does not read the model. `additive`: its numbers add up to the answer minus the mean answer. `inside`: what
    it reads of the model beside answers; without it the method is skipped. `most_features`: it is skipped for wider tables.
    `draws`: it draws random numbers, so a second run gives other numbers.
    """

    control: bool = False
    additive: bool = False
    draws: bool = False
    inside: str = ""
    most_features: int | None = None
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExplainedRows:
    """What a method gets: a model, the rows to explain, and the rows that stand for "not known"."""

    model: FittedModel
    rows: Matrix  # (n, d)
    background: Matrix  # (b, d), of the training part
    training: Matrix  # (m, d)
    draw: Callable[[int], np.random.Generator]  # row -> its random generator

    @property
    def features(self) -> int:
        """Return the number of features."""
        return int(self.rows.shape[1])

    def is_category(self, feature: int) -> bool:
        """Return whether a feature is a category."""
        return self.model.encoding.categories[feature] > 0

    def coalition_values(self, row: Matrix, masks: Mask) -> Matrix:  # (d,), (k, d) -> (k,)
        """Return the mean answer over the background for each coalition of features that keep the row's values."""
        b = len(self.background)
        step = max(1, ROWS_AT_ONCE // b)
        values = []
        for start in range(0, len(masks), step):
            some = masks[start : start + step]
            mixed = np.where(some[:, None, :], row, self.background[None])  # (k, b, d)
            values.append(self.model.answers(mixed.reshape(-1, len(row))).reshape(len(some), b).mean(axis=1))
        return np.concatenate(values)

    def mean_answer(self) -> float:
        """Return the mean answer over the background, from which additive methods start."""
        return float(self.model.answers(self.background).mean())


@dataclass(frozen=True)
class MethodUseOnTable:
    """A method with its options, under the study's label."""

    use: str
    options: Mapping[str, Any]

    def applies_to(self, model: FittedModel, features: int) -> bool:
        """Return whether the model has what the method reads, and the table is not too wide."""
        declared = registry.entry(METHODS, self.use).declared
        most = declared.get("most_features")
        return declared.get("inside", "") in {"", model.inside} and (most is None or features <= most)


@dataclass(frozen=True)
class RowsToExplain:
    """The rows of a table that a model is explained on."""

    ids: Sequence[str]
    rows: Matrix
    background: Matrix
    training: Matrix
    features: Sequence[str]


def explain_rows(
    model: FittedModel,
    parts: RowsToExplain,
    methods: Mapping[str, MethodUseOnTable],
    *,
    seed: int,
    copies: int,
    repeats: int,
    model_seed: int | None = None,
) -> pd.DataFrame:
    """Return the attributions of all methods: a row per method, copy, repeat and explained row, a column per feature.

    A method that draws runs `repeats` times with other random numbers; for any other, each run is the first. Each method
    also has `copies` shuffled copies of its first run, with the numbers permuted within each row: controls that have the
    same sizes, but no order. `model_seed`: with which the model was trained; None: there is only one model.
    """
    tables, own_keys = [], () if model_seed is None else (model_seed,)
    for label, use in methods.items():
        if not use.applies_to(model, parts.rows.shape[1]):
            continue
        declared = registry.entry(METHODS, use.use).declared
        runs = range(repeats if declared.get("draws", False) else 1)
        own = [_run(model, parts, label, use, (seed, repeat, *own_keys)) for repeat in runs]
        own += own * (repeats - len(own))
        tables += [_table(values, parts, label, 0, repeat) for repeat, values in enumerate(own)]
        if not declared.get("control", False):
            for copy in range(copies):
                tables.append(_table(_shuffled(own[0], parts.ids, seed, label, copy), parts, SHUFFLED + label, copy, 0))
    return pd.concat(tables, ignore_index=True)


def _run(model: FittedModel, parts: RowsToExplain, label: str, use: MethodUseOnTable, keys: tuple[int, ...]) -> Matrix:
    def draw(row: int) -> np.random.Generator:
        return rng.generator(keys[0], "table", label, parts.ids[row], *keys[1:])

    given = ExplainedRows(model, parts.rows, parts.background, parts.training, draw)
    found: Matrix = registry.load(METHODS, use.use).attribute(given, **use.options)
    return found


def _shuffled(values: Matrix, ids: Sequence[str], seed: int, label: str, copy: int) -> Matrix:
    orders = [rng.generator(seed, "shuffle", label, name, copy).permutation(values.shape[1]) for name in ids]
    return np.take_along_axis(values, np.array(orders), axis=1)


def _table(values: Matrix, parts: RowsToExplain, label: str, copy: int, repeat: int) -> pd.DataFrame:
    table = pd.DataFrame(values, columns=[f"x:{name}" for name in parts.features])
    keys: Any = zip(ATTRIBUTION_KEYS, (label, copy, repeat, list(parts.ids)), strict=True)
    for place, (name, value) in enumerate(keys):
        table.insert(place, name, value)
    return table
