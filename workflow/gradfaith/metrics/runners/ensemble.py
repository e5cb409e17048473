"""The mean map of all other models: whom a model agrees with when no single one is the reference.

    vote of a model  = map / sum |map|                                          every model has one vote to hand out
    ensemble of m    = mean of the votes of all models but m, image by image

Without the unit mass a broad map would outvote a narrow one many times over, and a gradient's scale would be its weight.
The model itself is left out, or it would agree with its own share; so ensembles of two models share all but two votes,
and their agreements move together: the interval is conditional on the models of the study. Evaluated maps are averaged at
the image's size and scaled to [0, 1] like any map; raw ones on the coarsest grid that a model of the method has
(metrics/maps/common_grid.py). A model has no vote on an image where its map is constant or not finite; with fewer than two votes left
there is no ensemble: undefined. Votes are added in the order of the models' names, so that the study's order is no matter.
Cost: the sum is held once, 0.4 MB per image and kind of grid at 224 x 224.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith.metrics.contract import Chosen, Result
from gradfaith.metrics.maps.evaluate import evaluate
from gradfaith.metrics.maps.rank_correlation import Cells, level
from gradfaith.metrics.runners.agreement import CHUNK, Kept, OneMetric, Side, between_images, on_same_images
from gradfaith.vocabulary import Grid

ENSEMBLE = "ensemble"
FEWEST = 2
ALONE = "fewer than two other models have a map of this image that is neither constant nor broken"


@dataclass
class Ensemble:
    """The votes of all models of one method, added up on one grid."""

    grid: Grid
    cells: Cells
    row: Mapping[str, int]  # image -> row
    total: NDArray[np.float64]  # (n, h, w)
    votes: NDArray[np.int64]  # (n,)

    @classmethod
    def of(cls, sides: Iterable[Side], grid: Grid, cells: Cells, image_ids: Iterable[str]) -> "Ensemble":
        """`sides` are read one after the other, each once."""
        row = {image: place for place, image in enumerate(image_ids)}
        whole = cls(grid, cells, row, np.zeros((len(row), *cells)), np.zeros(len(row), dtype=np.int64))
        for side in sides:
            whole.add(side)
        return whole

    def add(self, side: Side) -> None:
        for where, vote, fit in self._votes(side):
            self.total[where] += vote
            self.votes[where] += fit

    def without(self, side: Side, metric: OneMetric) -> Kept:
        """What a metric keeps of the mean of all others, for the images of this model."""
        module, options = metric
        stacks, absent, flat = [], [], []
        for where, vote, fit in self._votes(side):
            left = self.votes[where] - fit
            mean = _exact((self.total[where] - vote) / np.maximum(left, 1)[:, None, None])
            if self.grid == "input":
                mean, even, _ = evaluate(mean, grid="input", signed=False, size=self.cells)
            else:
                even = level(mean)
            stacks.append(module.ready(mean, **options))
            absent.append(left < FEWEST)
            flat.append(even & (left >= FEWEST))
        stack = np.concatenate(stacks)
        return Kept(stack, np.concatenate(flat), np.zeros(len(stack), dtype=bool), np.concatenate(absent))

    def _votes(self, side: Side) -> Iterator[tuple[NDArray[np.int64], NDArray[Any], NDArray[np.bool_]]]:
        """Chunk by chunk: the images' rows, maps of unit mass (zero where there is no vote), and who has a vote."""
        for start in range(0, len(side.raw), CHUNK):
            rows = slice(start, start + CHUNK)
            maps, degenerate, broken = side.read(self.grid, self.cells, rows)
            mass = np.abs(maps.astype(np.float64)).sum(axis=(1, 2))
            fit = ~(degenerate | broken) & (mass > 0)
            vote = np.where(fit, 1 / np.where(fit, mass, 1), 0)[:, None, None] * maps
            yield np.array([self.row[image] for image in side.image_ids[rows]], dtype=np.int64), vote, fit


def against(
    side: Side, wholes: Mapping[Grid, Ensemble], metrics: Chosen, others: NDArray[np.int64]
) -> Iterator[tuple[str, Result, Result]]:
    """Per metric: a model's agreement with the others' mean, image by image, and its chance level."""
    for label, metric in metrics.items():
        whole = wholes[metric[0].METRIC.grid]
        own, mean = side.kept(label, metric, whole.cells), whole.without(side, metric)
        yield label, on_same_images(own, mean, metric, reason=ALONE), between_images(own, mean, metric, others)


def _exact(mean: NDArray[Any]) -> NDArray[Any]:  # (n, h, w)
    """Without what is left of a vote that was added and taken away again: it would part cells that are level."""
    largest = np.abs(mean).max(axis=(1, 2), keepdims=True)
    scale = np.where(largest > 0, largest, 1)
    rounded: NDArray[Any] = np.round(mean / scale, 12) * scale
    return rounded
