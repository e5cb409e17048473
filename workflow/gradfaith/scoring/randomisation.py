"""Score the model-parameter sanity check of one cell: a bundle's methods on randomised weights, compared with stored maps.

Images and classes are the same at every step: the class that the trained model predicts. The random streams of seeded
methods are the same, too, so that an unchanged model would agree with itself exactly. Layers are not probed again: a
randomised network may have positions without gradient, and the status of its maps then states it. If a method refuses
such a network, its scores are "failed" with the reason, and the other methods are scored. If the batch norms of the
network cannot be folded, the scores of all methods are "failed".

Cost: orders x steps times the cost of explaining the images.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gradfaith import rng
from gradfaith.attribution.bound_method import bind_methods, tapped_layers
from gradfaith.attribution.cell import MapCell, sample_evenly
from gradfaith.config.job_settings import RandomiseSettings
from gradfaith.config.sections import Passes
from gradfaith.errors import GradFaithError
from gradfaith.metrics.contract import Result, concatenate_results
from gradfaith.metrics.maps.rank_correlation import rank_agreement, variant_name
from gradfaith.models.classifier import Classifier
from gradfaith.models.randomise import randomise_in_steps
from gradfaith.models.speed import prepare_for_speed
from gradfaith.runtime.device import BatchLimit
from gradfaith.scoring.score_rows import index_by_image, rows_of_target, score_table
from gradfaith.storage.hdf5 import ImageStore, MapStore
from gradfaith.vocabulary import RANDOMISATION


@dataclass(frozen=True)
class TrainedMaps:
    """The stored maps of the trained model, for comparison with the new maps: some rows of a store, one per image."""

    maps: MapStore
    rows: NDArray[np.int64]

    @property
    def table(self) -> pd.DataFrame:
        return self.maps.rows.iloc[self.rows].assign(role="both").reset_index(drop=True)

    def read(self, label: str, some: slice) -> NDArray[np.float32]:  # (n, h, w)
        return self.maps.maps(label, 0, self.rows[some])


def score_randomisation(
    model: Classifier, images: ImageStore, maps: MapStore, predictions: pd.DataFrame, settings: RandomiseSettings,
    cell: Mapping[str, Any], *, batch_limit: BatchLimit,
) -> Iterator[pd.DataFrame]:  # fmt: skip
    """Yield one score row per image, method, order and step, in a table per method and step; `cell`: columns arch and seed."""
    trained = TrainedMaps(maps, select_rows(maps, predictions, settings.max_images, settings.seed))
    table, key = trained.table, (settings.seed, cell["arch"], cell["seed"])
    methods = [replace(method, shuffled=False) for method in bind_methods(model, settings.methods)]
    by_image = index_by_image(predictions)
    cascade = randomise_in_steps(model, settings.orders, settings.steps, seed=rng.seed(*key, RANDOMISATION))
    for order, step, randomised in cascade:
        on_step = MapCell(
            randomised, images.pixels, table, methods, key=key, copies=1, batch_limit=batch_limit, probe_layers=False
        )
        for label, result in prepare_and_compare(on_step, settings.passes, trained).items():
            columns = {
                **cell, "method": label, "copy": 0, "layer": maps.methods[label].layer, "target": "predicted",
                "metric": RANDOMISATION, "variant": variant_name(order, step, settings.steps),
            }  # fmt: skip
            yield score_table(result, list(table["image_id"]), by_image, columns)


def select_rows(maps: MapStore, predictions: pd.DataFrame, max_images: int | None, seed: int) -> NDArray[np.int64]:
    """Return the rows of the predicted classes' maps of at most `max_images` images, sampled evenly from the groups."""
    rows = rows_of_target(maps.rows, "predicted")
    ids = maps.rows["image_id"].iloc[rows]
    sampled = sample_evenly(predictions[predictions["image_id"].isin(ids)], max_images, seed)
    selected: NDArray[np.int64] = rows[ids.isin(sampled["image_id"]).to_numpy()]
    return selected


def prepare_and_compare(cell: MapCell, passes: Passes, trained: TrainedMaps) -> dict[str, Result]:
    """Prepare the network for speed as the study sets, and compare; if this fails, all methods have status "failed"."""
    try:
        ready = prepare_for_speed(cell.classifier, passes, tapped_layers(cell.methods))
    except GradFaithError as error:
        return {method.label: _failed(len(trained.rows), error.problem) for method in cell.methods}
    return compare_with_trained(replace(cell, classifier=ready), trained)


def compare_with_trained(cell: MapCell, trained: TrainedMaps) -> dict[str, Result]:
    """Return every method's agreement with its stored maps; if one method raises an error, the methods run one by one."""
    try:
        return _compare_all_methods(cell, trained)
    except (GradFaithError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        if len(cell.methods) > 1:
            alone = [compare_with_trained(replace(cell, methods=[method]), trained) for method in cell.methods]
            return {label: result for one in alone for label, result in one.items()}
        reason = error.problem if isinstance(error, GradFaithError) else str(error)
        return {cell.methods[0].label: _failed(len(trained.rows), reason)}


def _compare_all_methods(cell: MapCell, trained: TrainedMaps) -> dict[str, Result]:
    """Compare all methods in one pass over the images."""
    parts: dict[str, list[Result]] = {}
    for chunk in cell.map_chunks():
        stored = trained.read(chunk.label, slice(chunk.start, chunk.start + len(chunk.maps)))
        parts.setdefault(chunk.label, []).append(rank_agreement(stored, chunk.maps[:, 0]))
    return {label: concatenate_results(results) for label, results in parts.items()}


def _failed(count: int, reason: str) -> Result:
    return Result(np.full(count, np.nan), np.full(count, "failed"), np.full(count, reason))
