"""Define what a model of tables is: how it is fitted, stored, loaded and asked, and what methods may know of its inside.

    MODEL = TableModel(inside="network")
    def fit(data: TrainingTable, *, <options>) -> Tensors        plain arrays, which are stored as they are
    def predict(tensors: Tensors, rows: Matrix, encoding: Encoding) -> Matrix     the raw score of each row

A model is one file in this folder; its stem is the model's name. Its raw score is the value (regression) or the log-odds of the
positive class. Nothing is pickled: weights, coefficients and trees are arrays in a safetensors file, so a file of another version
cannot run code. Rows are matrices of numbers with one column per feature; categories are whole numbers. `Encoding` turns them
into standardised numbers and one column per category, with means and deviations of the training part.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as parse
from safetensors.numpy import save as serialise

from gradfaith import registry
from gradfaith.errors import ModelUnusable
from gradfaith.storage import atomic, json_file
from gradfaith.storage.identity import advise_replacement
from gradfaith.vocabulary import TableScale

Matrix = NDArray[np.float64]
Tensors = Mapping[str, NDArray[Any]]
TREE_ARRAYS = ("left", "right", "feature", "threshold", "value")
EVERY_MODEL = "table_models"  # the group of plug-ins


@dataclass(frozen=True)
class TableModel:
    """The declaration of a model. `inside`: what methods may read of it beside its answers."""

    inside: Literal["nothing", "network", "trees"] = "nothing"
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Encoding:
    """Standardised numbers and one column per category, from the training part."""

    categories: tuple[int, ...]  # of each feature: the number of its categories; 0: it is a number
    mean: Matrix  # of each feature
    deviation: Matrix

    @classmethod
    def of(cls, rows: Matrix, categories: Sequence[int]) -> "Encoding":
        """Return the encoding that the rows of the training part give."""
        deviation = rows.std(axis=0)
        return cls(tuple(categories), rows.mean(axis=0), np.where(deviation > 0, deviation, 1.0))

    def encode(self, rows: Matrix) -> Matrix:  # (n, d) -> (n, width)
        """Return rows as models read them."""
        parts = []
        for place, count in enumerate(self.categories):
            column = rows[:, place]
            if count:
                parts.append((column[:, None] == np.arange(count)).astype(np.float64))
            else:
                parts.append(((column - self.mean[place]) / self.deviation[place])[:, None])
        return np.concatenate(parts, axis=1)

    @property
    def owner(self) -> NDArray[np.int64]:  # (width,)
        """Return the feature that each encoded column belongs to."""
        return np.repeat(np.arange(len(self.categories)), [count or 1 for count in self.categories])


@dataclass(frozen=True)
class TrainingTable:
    """What a model is fitted to."""

    rows: Matrix
    target: Matrix
    validation_rows: Matrix
    validation_target: Matrix
    encoding: Encoding
    classification: bool
    seed: int


@dataclass(frozen=True)
class FittedModel:
    """A fitted model that answers."""

    use: str  # its plug-in
    tensors: Tensors
    encoding: Encoding
    scale: TableScale | None  # None: regression
    offset: float = 0.0  # of a regression: the target is standardised while it is fitted
    factor: float = 1.0

    @cached_property
    def _raw(self) -> Callable[[Tensors, Matrix, Encoding], Matrix]:
        found: Callable[[Tensors, Matrix, Encoding], Matrix] = registry.load(EVERY_MODEL, self.use).predict
        return found

    @property
    def inside(self) -> str:
        """Return what methods may read of this model."""
        return str(registry.entry(EVERY_MODEL, self.use).declared.get("inside", "nothing"))

    def raw(self, rows: Matrix) -> Matrix:  # (n, d) -> (n,)
        """Return the log-odds of the positive class, or the value of a regression."""
        return self._raw(self.tensors, rows, self.encoding) * self.factor + self.offset

    def answers(self, rows: Matrix) -> Matrix:  # (n, d) -> (n,)
        """Return the score that is explained."""
        raw = self.raw(rows)
        return sigmoid(raw) if self.scale == "probability" else raw


def fit_model(use: str, options: Mapping[str, Any], data: TrainingTable) -> tuple[Tensors, float, float]:
    """Fit a model; return its arrays, and the offset and the factor of a regression's value."""
    offset, factor = 0.0, 1.0
    if not data.classification:
        offset, factor = float(data.target.mean()), float(data.target.std()) or 1.0
        scaled = {name: (getattr(data, name) - offset) / factor for name in ("target", "validation_target")}
        data = TrainingTable(**(vars(data) | scaled))
    tensors: Tensors = registry.load(EVERY_MODEL, use).fit(data, **options)
    return tensors, offset, factor


def sigmoid(raw: Matrix) -> Matrix:
    """Return the probability of log-odds."""
    return np.asarray(1 / (1 + np.exp(-np.clip(raw, -500, 500))))


def trees_as_arrays(trees: Sequence[Any], value: Callable[[Any], Matrix]) -> dict[str, NDArray[Any]]:
    """Return scikit-learn's trees as arrays (trees, nodes); `value` returns the answer of every node of a tree."""
    most = max(tree.node_count for tree in trees)
    arrays = {name: np.full((len(trees), most), -1, dtype=np.int32) for name in ("left", "right", "feature")}
    arrays |= {name: np.zeros((len(trees), most)) for name in ("threshold", "value")}
    for place, tree in enumerate(trees):
        nodes = slice(0, tree.node_count)
        arrays["left"][place, nodes], arrays["right"][place, nodes] = tree.children_left, tree.children_right
        arrays["feature"][place, nodes], arrays["threshold"][place, nodes] = tree.feature, _as_single(tree.threshold)
        arrays["value"][place, nodes] = value(tree)
    return arrays


def _as_single(threshold: Matrix) -> Matrix:
    """Return the largest number of single precision up to each threshold.

    Rows are compared in single precision, so every row goes the same way; and a package that compares in another precision, as
    shap does, cannot differ on a row that lies on the threshold.
    """
    single = threshold.astype(np.float32)
    return np.where(single > threshold, np.nextafter(single, np.float32(-np.inf)), single).astype(np.float64)


def ask_trees(tensors: Tensors, rows: Matrix) -> Matrix:  # (n, d) -> (n,)
    """Return the sum of the trees' answers; all trees go down one level at a time."""
    left, right, feature, threshold, value = (tensors[name] for name in TREE_ARRAYS)
    trees, values = np.arange(len(left))[None], rows.astype(np.float32)  # scikit-learn compares in single precision
    place = np.zeros((len(rows), len(left)), dtype=np.int64)
    which = np.arange(len(rows))[:, None]
    while True:
        inner = left[trees, place] >= 0
        if not inner.any():
            break
        goes_left = values[which, np.maximum(feature[trees, place], 0)] <= threshold[trees, place]
        below = np.where(goes_left, left[trees, place], right[trees, place])
        place = np.where(inner, below, place)
    return np.asarray(value[trees, place].sum(axis=1))


def save_model(weights: Path | str, card: Path | str, model: FittedModel, facts: Mapping[str, Any]) -> None:
    """Write a model's arrays, then the card that describes them. `facts`: arch, seed and what else the card should say."""
    content = serialise({name: np.ascontiguousarray(values) for name, values in model.tensors.items()})
    with atomic.replacing(weights) as draft:
        draft.write_bytes(content)
    encoding = model.encoding
    about = {
        "weights_sha256": hashlib.sha256(content).hexdigest(), "use": model.use, "offset": model.offset, "factor": model.factor,
        "categories": list(encoding.categories), "mean": list(encoding.mean), "deviation": list(encoding.deviation),
        "parameters": int(sum(values.size for values in model.tensors.values())),
        "versions": {name: version(name) for name in ("numpy", "scikit-learn", "torch")},
    }  # fmt: skip
    json_file.write(card, {**facts, **about})


def load_model(weights: Path | str, card: Path | str, scale: TableScale | None) -> FittedModel:
    """Read a model; the weights must be those of the card. `scale`: of the score that is explained."""
    about, content = json_file.read(card), Path(weights).read_bytes()
    if hashlib.sha256(content).hexdigest() != about["weights_sha256"]:
        raise ModelUnusable(
            problem=f"{weights} is not the file that {card} describes: their SHA-256 differ.",
            reason="The numbers would be those of another model.",
            fix=advise_replacement(weights, card),
        )
    encoding = Encoding(tuple(about["categories"]), np.array(about["mean"]), np.array(about["deviation"]))
    return FittedModel(about["use"], parse(content), encoding, scale, about["offset"], about["factor"])
