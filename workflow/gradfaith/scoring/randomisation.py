"""The model-parameter sanity check of one cell: a bundle's methods on a model that forgets, beside its stored maps.

Images and classes are the same at every step: the class that the trained model predicts. So are the random streams of
seeded methods, so that a network nobody changed would agree with itself exactly. Layers are not probed again: a
randomised network may have dead places, and its maps then say so by their status. Where a method refuses such a network, its
scores have failed, with its reason; the others go on. So have those of a network whose batch norms cannot be folded, all of them.

Cost: orders x steps times what explaining the images did.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gradfaith import rng
from gradfaith.attribution.bound_method import uses_of
from gradfaith.attribution.cell import Cell
from gradfaith.attribution.image_selection import evenly
from gradfaith.errors import Refusal
from gradfaith.metrics.contract import Result, join
from gradfaith.metrics.maps.randomisation import NAME, agreement, variant
from gradfaith.models.classifier import Classifier
from gradfaith.models.randomise import cascade
from gradfaith.models.speed import prepared
from gradfaith.runtime.batching import Most
from gradfaith.scoring.score_rows import frame, of_target
from gradfaith.storage import parquet
from gradfaith.storage.hdf5 import Images, Maps


@dataclass(frozen=True)
class Stored:
    """The maps of the trained model that are compared with: some rows of a store, one per image."""

    maps: Maps
    rows: NDArray[np.int64]

    @property
    def table(self) -> pd.DataFrame:
        return self.maps.rows.iloc[self.rows].assign(role="both").reset_index(drop=True)

    def of(self, label: str, some: slice) -> NDArray[np.float32]:  # (n, h, w)
        return self.maps.maps(label, 0, self.rows[some])


def scores(
    model: Classifier, images: Images, maps: Maps, predictions: pd.DataFrame, asked: Mapping[str, Any],
    model_is: Mapping[str, Any], *, most: Most,
) -> pd.DataFrame:  # fmt: skip
    """One row per image, method, order and step."""
    stored = Stored(maps, drawn(maps, predictions, asked["max_images"], asked["seed"]))
    table, key = stored.table, (asked["seed"], model_is["arch"], model_is["seed"])
    uses = [replace(use, shuffled=False) for use in uses_of(model, asked["methods"])]
    frames = [parquet.read_all((), parquet.SCORES)]
    for order, step, random in cascade(model, asked["orders"], asked["steps"], seed=rng.seed(*key, NAME)):
        cell = Cell(random, images.pixels, table, uses, key=key, copies=1, most=most, probed=False)
        for label, result in answered(cell, asked["passes"], stored).items():
            what = {
                **model_is, "method": label, "copy": 0, "layer": maps.methods[label].layer, "target": "predicted",
                "metric": NAME, "variant": variant(order, step, asked["steps"]),
            }  # fmt: skip
            frames.append(frame(result, list(table["image_id"]), predictions, what))
    return pd.concat([part for part in frames if len(part)] or frames, ignore_index=True)


def drawn(maps: Maps, predictions: pd.DataFrame, most: int | None, seed: int) -> NDArray[np.int64]:
    """Rows of the predicted classes' maps, of so many images, evenly from the groups."""
    rows = of_target(maps.rows, "predicted")
    ids = maps.rows["image_id"].iloc[rows]
    chosen = evenly(predictions[predictions["image_id"].isin(ids)], most, seed)
    kept: NDArray[np.int64] = rows[ids.isin(chosen["image_id"]).to_numpy()]
    return kept


def answered(cell: Cell, passes: Mapping[str, Any], stored: Stored) -> dict[str, Result]:
    """Every method's agreement, of a network prepared as the study asks; where it cannot be, all of them have failed."""
    try:
        ready = prepared(cell.classifier, passes)
    except Refusal as refusal:
        return {use.label: _failed(len(stored.rows), refusal.found) for use in cell.uses}
    return compared(replace(cell, classifier=ready), stored)


def compared(cell: Cell, stored: Stored) -> dict[str, Result]:
    """Every method's agreement with its stored maps; one by one, where one of them refuses."""
    try:
        return _compared(cell, stored)
    except (Refusal, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        if len(cell.uses) > 1:
            alone = [compared(replace(cell, uses=[use]), stored) for use in cell.uses]
            return {label: result for one in alone for label, result in one.items()}
        reason = error.found if isinstance(error, Refusal) else str(error)
        return {cell.uses[0].label: _failed(len(stored.rows), reason)}


def _compared(cell: Cell, stored: Stored) -> dict[str, Result]:
    parts: dict[str, list[Result]] = {}
    for piece in cell.pieces():
        trained = stored.of(piece.label, slice(piece.start, piece.start + len(piece.maps)))
        parts.setdefault(piece.label, []).append(agreement(trained, piece.maps[:, 0]))
    return {label: join(results) for label, results in parts.items()}


def _failed(count: int, reason: str) -> Result:
    return Result(np.full(count, np.nan), np.full(count, "failed"), np.full(count, reason))
