"""Score the agreement across architectures: every pair of architectures, and every model with the mean of all others.

    architectures   every pair of architectures, models of the same seed: A (A - 1) / 2 pairs, S models each
    ensemble        every model with the mean map of all others that have the method (metrics/runners/ensemble.py)

Models are paired seed by seed, not all S x S: seeds of different architectures share only their number, so the other pairs
would add cost and no new models. Leaving a seed out would also no longer leave out one model of each architecture. A pair
is compared on the images that both explained. A method that only one model has is not compared; the log counts it, and the
table names it.

Columns for pairs: arch < arch2 by name, seed2 = seed, and `layer` names both layers if they differ. For the ensemble:
arch2 is "ensemble", seed2 is empty. Cost: m S A (A - 1) / 2 (1 + partners) scores per method and metric; the models of one
seed, and the sum of all, are in temporary files (storage/atomic.py). So five architectures, five seeds, 220 images and one
CAM with its controls and both metrics take about eight minutes on one core.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.metrics.contract import BoundPlugins, Result
from gradfaith.metrics.maps.rank_correlation import GridShape, coarsest_shape
from gradfaith.metrics.runners.agreement import (
    PARTNERS,
    ComparedImages,
    MetricAgreement,
    ModelMaps,
    choose_partners,
    compare_models,
)
from gradfaith.metrics.runners.ensemble import ENSEMBLE, MIN_VOTES, Ensemble, compare_with_ensemble
from gradfaith.scoring.agreement import compared_images, true_class_maps
from gradfaith.scoring.score_rows import ModelKey, index_by_image, score_table
from gradfaith.storage.atomic import new_rows
from gradfaith.storage.hdf5 import ImageStore, MapStore
from gradfaith.vocabulary import BETWEEN_IMAGES, Grid

ARCHITECTURES = "architectures"


class PairRow(NamedTuple):
    """One result of a comparison, for some images."""

    result: Result
    image_ids: Sequence[str]
    columns: Mapping[str, Any]  # of the score table: the two models, the layer, the metric and the variant


def score_across_architectures(
    images: ImageStore,
    stores: Mapping[ModelKey, Mapping[str, MapStore]],
    predictions: pd.DataFrame,
    metrics: BoundPlugins,
    comparisons: Sequence[str],
    seed: int,
) -> Iterator[pd.DataFrame]:
    """Yield the score rows of every method that several models have.

    `stores`: model -> bundle -> store; `comparisons`: "architectures", "ensemble" or both.
    """
    job = _AcrossJob(images, dict(sorted(stores.items())), predictions, metrics, (seed, "agreement"))
    for label, owners in job.methods():
        print(f"{label}: {len({arch for arch, _ in owners})} architectures, {len(owners)} models", flush=True)  # noqa: T201 - the job's log
        fixed = {"method": label, "copy": 0, "target": "true", "predicted": "", "correct": pd.NA}
        for result, ids, columns in (row for kind in comparisons for row in COMPARISONS[kind](job, label, owners)):
            yield score_table(result, ids, job.predictions_by_image, {**fixed, **columns})


@dataclass(frozen=True)
class _AcrossJob:
    """The stores of all models, and the data that their comparisons share."""

    images: ImageStore
    stores: Mapping[ModelKey, Mapping[str, MapStore]]  # in the order of names
    predictions: pd.DataFrame
    metrics: BoundPlugins
    key: tuple[object, ...]

    def methods(self) -> Iterator[tuple[str, dict[ModelKey, MapStore]]]:
        """Yield every method with the stores of the models that have it."""
        for bundle in next(iter(self.stores.values())):
            by_model = {model: maps[bundle] for model, maps in self.stores.items()}
            for label in dict.fromkeys(label for maps in by_model.values() for label in maps.methods):
                yield label, {model: maps for model, maps in by_model.items() if label in maps.methods}

    def model_maps(self, label: str, maps: MapStore) -> ModelMaps:
        return true_class_maps(maps, label, maps.methods[label], self.images)

    def images_and_partners(self, ids: Sequence[str]) -> tuple[ComparedImages, NDArray[np.int64]]:
        """Return images, and the rows of their partners for the chance level."""
        compared = compared_images(ids, self.predictions_by_image)
        return compared, choose_partners(compared, PARTNERS, self.key)

    @cached_property
    def predictions_by_image(self) -> pd.DataFrame:
        return index_by_image(self.predictions)


def _architectures(job: _AcrossJob, label: str, owners: Mapping[ModelKey, MapStore]) -> Iterator[PairRow]:
    """Compare each pair of architectures, seed by seed; only the models of one seed are open at a time."""
    for seed in sorted({seed for _, seed in owners}):
        of_seed = {arch: maps for (arch, number), maps in owners.items() if number == seed}
        models = {arch: job.model_maps(label, maps) for arch, maps in of_seed.items()}
        for first, second in combinations(models, 2):
            both = set(models[second].image_ids)
            compared, others = job.images_and_partners([image for image in models[first].image_ids if image in both])
            layer = _layers(*(of_seed[arch].methods[label].layer for arch in (first, second)))
            columns = {"arch": first, "seed": seed, "arch2": second, "seed2": seed, "layer": layer}
            for agreement in compare_models(models[first], models[second], compared, job.metrics, others):
                yield from _pair_rows(agreement, ARCHITECTURES, compared.image_ids, columns)


def _ensemble(job: _AcrossJob, label: str, owners: Mapping[ModelKey, MapStore]) -> Iterator[PairRow]:
    """Compare each model with the mean of all others. Models are read twice, one at a time."""
    if len(owners) <= MIN_VOTES:
        return
    ids = dict.fromkeys(image for maps in owners.values() for image in maps.rows["image_id"])
    raw = coarsest_shape(maps.cells(label) for maps in owners.values())
    shapes: dict[Grid, GridShape] = {"input": job.images.size, "native": raw}
    wanted = dict.fromkeys(module.METRIC.grid for module, _ in job.metrics.values())
    ensembles = {
        grid: Ensemble.from_models(
            (job.model_maps(label, maps) for maps in owners.values()), grid, shapes[grid], ids, new_rows
        )
        for grid in wanted
    }
    for (arch, seed), maps in owners.items():
        own = job.model_maps(label, maps)
        compared, others = job.images_and_partners(own.image_ids)
        columns = {"arch": arch, "seed": seed, "arch2": ENSEMBLE, "layer": maps.methods[label].layer}
        for agreement in compare_with_ensemble(own, ensembles, job.metrics, others):
            yield from _pair_rows(agreement, ENSEMBLE, compared.image_ids, columns)


def _pair_rows(
    agreement: MetricAgreement, variant: str, ids: Sequence[str], columns: Mapping[str, Any]
) -> Iterator[PairRow]:
    """Yield the agreement of one metric under its variant, and its chance level."""
    metric, same, between = agreement
    yield PairRow(same, ids, {**columns, "metric": metric, "variant": variant})
    yield PairRow(between, ids, {**columns, "metric": metric, "variant": BETWEEN_IMAGES})


def _layers(first: str, second: str) -> str:
    return first if first == second else f"{first} / {second}"


COMPARISONS: Mapping[str, Callable[[_AcrossJob, str, Mapping[ModelKey, MapStore]], Iterator[PairRow]]] = {
    ARCHITECTURES: _architectures,
    ENSEMBLE: _ensemble,
}
