"""Compare each model's map with the mean map of all other models: agreement without one model as reference.

    vote of a model  = map / sum |map|                                          every model has one vote
    ensemble of m    = mean of the votes of all models but m, image by image

Without the unit mass, broad maps would dominate the mean, and so would gradients of large scale. The model itself is
left out, because it would agree with its own share. So the ensembles of two models share all but two votes, and their
agreements are correlated: the interval is conditional on the models of the study. Evaluated maps are averaged at the
image's size and scaled to [0, 1] like any map; raw maps on the coarsest grid of the method's models
(metrics/maps/rank_correlation.py). A model has no vote on an image if its map is constant or not finite. With fewer
than two remaining votes there is no ensemble: undefined. Votes are added in the order of the models' names, so the
order in the study does not matter. Cost: the sum is stored once, 0.4 MB per image and kind of grid at 224 x 224, where
the caller says.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradfaith.metrics.contract import BoundPlugin, BoundPlugins
from gradfaith.metrics.maps.evaluate import evaluate
from gradfaith.metrics.maps.rank_correlation import GridShape, is_constant
from gradfaith.metrics.runners.agreement import (
    CHUNK,
    MetricAgreement,
    ModelMaps,
    NewRows,
    PreparedChunk,
    PreparedMaps,
    Rows,
    score_between_images,
    score_same_images,
)
from gradfaith.vocabulary import Grid

ENSEMBLE = "ensemble"
MIN_VOTES = 2
TOO_FEW_VOTES = "fewer than two other models have a map of this image that is neither constant nor broken"


class _Votes(NamedTuple):
    """The votes of one model on a chunk of images."""

    rows: NDArray[np.int64]  # (m,) of the images in the ensemble
    maps: NDArray[Any]  # (m, h, w), of unit mass; zero if the model has no vote
    valid: NDArray[np.bool_]  # (m,): the model has a vote


@dataclass
class Ensemble:
    """The votes of all models of one method, added up on one grid."""

    grid: Grid
    shape: GridShape
    row: Mapping[str, int]  # image -> row
    total: Rows  # (n, h, w), float64
    votes: NDArray[np.int64]  # (n,)

    @classmethod
    def from_models(
        cls,
        models: Iterable[ModelMaps],
        grid: Grid,
        shape: GridShape,
        image_ids: Iterable[str],
        new_rows: NewRows = np.zeros,
    ) -> "Ensemble":
        """Add up the votes of all models. `models` are read one after the other, each once."""
        row = {image: place for place, image in enumerate(image_ids)}
        total, votes = new_rows((len(row), *shape), np.float64), np.zeros(len(row), dtype=np.int64)
        ensemble = cls(grid, shape, row, total, votes)
        for model in models:
            ensemble.add(model)
        return ensemble

    def add(self, model: ModelMaps) -> None:
        """Add one model's votes."""
        for rows, maps, valid in self._votes(model):
            self.total[rows] = self.total[rows] + maps
            self.votes[rows] += valid

    def prepare_without(self, model: ModelMaps, metric: BoundPlugin) -> PreparedMaps:
        """Return the mean map of all other models, in the form that a metric compares, for the images of this model."""
        return PreparedMaps.from_chunks(self._means_without(model, metric), len(model.raw), model.new_rows)

    def _means_without(self, model: ModelMaps, metric: BoundPlugin) -> Iterator[PreparedChunk]:
        module, options = metric
        for rows, maps, valid in self._votes(model):
            left = self.votes[rows] - valid
            mean = _without_residue((self.total[rows] - maps) / np.maximum(left, 1)[:, None, None])
            if self.grid == "input":
                mean, level, _ = evaluate(mean, grid="input", signed=False, size=self.shape)
            else:
                level = is_constant(mean)
            absent, none = left < MIN_VOTES, np.zeros(len(left), dtype=bool)
            yield PreparedChunk(module.ready(mean, **options), level & ~absent, none, absent)

    def _votes(self, model: ModelMaps) -> Iterator[_Votes]:
        """Yield a model's votes, chunk by chunk."""
        for start in range(0, len(model.raw), CHUNK):
            some = slice(start, start + CHUNK)
            maps, degenerate, broken = model.read(self.grid, self.shape, some)
            mass = np.abs(maps.astype(np.float64)).sum(axis=(1, 2))
            valid = ~(degenerate | broken) & (mass > 0)
            vote = np.where(valid, 1 / np.where(valid, mass, 1), 0)[:, None, None] * maps
            rows = np.array([self.row[image] for image in model.image_ids[some]], dtype=np.int64)
            yield _Votes(rows, vote, valid)


def compare_with_ensemble(
    model: ModelMaps, ensembles: Mapping[Grid, Ensemble], metrics: BoundPlugins, others: NDArray[np.int64]
) -> Iterator[MetricAgreement]:
    """Compare a model with the mean of all others, image by image; `others` (m, partners) from `choose_partners`."""
    for label, metric in metrics.items():
        ensemble = ensembles[metric[0].METRIC.grid]
        own, mean = model.prepare(label, metric, ensemble.shape), ensemble.prepare_without(model, metric)
        same = score_same_images(own, mean, metric, reason=TOO_FEW_VOTES)
        yield MetricAgreement(label, same, score_between_images(own, mean, metric, others))


def _without_residue(mean: NDArray[Any]) -> NDArray[Any]:  # (n, h, w)
    """Round off the residue of adding and subtracting a vote, which would separate equal values."""
    largest = np.abs(mean).max(axis=(1, 2), keepdims=True)
    scale = np.where(largest > 0, largest, 1)
    rounded: NDArray[Any] = np.round(mean / scale, 12) * scale
    return rounded
