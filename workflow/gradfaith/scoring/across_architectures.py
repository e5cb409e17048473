"""An agreement job across architectures: who shares a place with whom, and who stands alone.

    architectures   every pair of architectures, the models of one seed with each other: A (A - 1) / 2 pairs, S models each
    ensemble        every model with the mean map of all others that have the method (metrics/runners/ensemble.py)

Seed by seed and not all S x S: seeds of different architectures have nothing in common but their number, so the other pairs
would add cost and no new models, and leaving a seed out would no longer leave out one model of each. A pair is compared on
the images that both explained. A method that only one side has is not compared; the log counts it, and the table names it.

Of pairs: arch < arch2 by name, seed2 = seed, and `layer` names both where they differ. Of the ensemble: arch2 is "ensemble",
seed2 empty. Cost: m S A (A - 1) / 2 (1 + partners) scores per method and metric; the models of one seed, and the sum of all, in
memory. By these costs five architectures, five seeds, 220 images, one CAM with its controls and both metrics take about
eight minutes of one core.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.metrics.contract import Result
from gradfaith.metrics.maps.rank_correlation import Cells, coarsest
from gradfaith.metrics.runners.agreement import CHANCE, PARTNERS, Shown, Side, choose_partners, compare
from gradfaith.metrics.runners.ensemble import ENSEMBLE, FEWEST, Ensemble, against
from gradfaith.scoring.agreement import shown, side
from gradfaith.scoring.score_rows import Chosen, frame
from gradfaith.storage.hdf5 import Images, Maps
from gradfaith.vocabulary import Grid

ARCHITECTURES = "architectures"
Model = tuple[str, int]
Row = tuple[Result, Sequence[str], dict[str, Any]]  # what was found, of which images, and what it is of


def scores(
    images: Images,
    stores: Mapping[Model, Sequence[Maps]],
    predictions: pd.DataFrame,
    metrics: Chosen,
    asked: Sequence[str],
    seed: int,
) -> pd.DataFrame:
    """Score rows of every method that several models have; `stores`: model -> its cells, all in one order of bundles."""
    job = _Job(images, dict(sorted(stores.items())), predictions, metrics, (seed, "agreement"))
    frames = []
    for label, owners in job.methods():
        print(f"{label}: {len({arch for arch, _ in owners})} architectures, {len(owners)} models", flush=True)  # noqa: T201 - the job's log
        for result, ids, what in (row for kind in asked for row in KINDS[kind](job, label, owners)):
            every = {"method": label, "copy": 0, "target": "true", "predicted": "", "correct": pd.NA}
            frames.append(frame(result, ids, predictions, {**every, **what}))
    return pd.concat(frames, ignore_index=True)


@dataclass(frozen=True)
class _Job:
    """All models' stores, and what their comparisons share."""

    images: Images
    stores: Mapping[Model, Sequence[Maps]]  # in the order of names
    predictions: pd.DataFrame
    metrics: Chosen
    key: tuple[object, ...]

    def methods(self) -> Iterator[tuple[str, dict[Model, Maps]]]:
        """Every method with the stores of the models that have it."""
        for cell in range(len(next(iter(self.stores.values())))):
            cells = {model: maps[cell] for model, maps in self.stores.items()}
            for label in dict.fromkeys(label for maps in cells.values() for label in maps.methods):
                yield label, {model: maps for model, maps in cells.items() if label in maps.methods}

    def side(self, label: str, maps: Maps) -> Side:
        return side(maps, label, maps.methods[label], self.images)

    def shown(self, ids: Sequence[str]) -> tuple[Shown, NDArray[np.int64]]:
        """Images and their partners."""
        here = shown(ids, self.known)
        return here, choose_partners(here, PARTNERS, self.key)

    @cached_property
    def known(self) -> pd.DataFrame:
        return self.predictions.drop_duplicates("image_id").set_index("image_id")


def _architectures(job: _Job, label: str, owners: Mapping[Model, Maps]) -> Iterator[Row]:
    """Each pair of architectures, the models of one seed; only these are in memory."""
    for seed in sorted({seed for _, seed in owners}):
        here = {arch: maps for (arch, number), maps in owners.items() if number == seed}
        sides = {arch: job.side(label, maps) for arch, maps in here.items()}
        for first, second in combinations(sides, 2):
            both = set(sides[second].image_ids)
            known, others = job.shown([image for image in sides[first].image_ids if image in both])
            layer = _layers(*(here[arch].methods[label].layer for arch in (first, second)))
            what = {"arch": first, "seed": seed, "arch2": second, "seed2": seed, "layer": layer}
            for metric, same, chance in compare(sides[first], sides[second], known, job.metrics, others):
                yield same, known.image_ids, {**what, "metric": metric, "variant": ARCHITECTURES}
                yield chance, known.image_ids, {**what, "metric": metric, "variant": CHANCE}


def _ensemble(job: _Job, label: str, owners: Mapping[Model, Maps]) -> Iterator[Row]:
    """Each model with the mean of all others; models are read twice, one at a time."""
    if len(owners) <= FEWEST:
        return
    ids = dict.fromkeys(image for maps in owners.values() for image in maps.rows["image_id"])
    raw = coarsest(maps.cells(label) for maps in owners.values())
    grids: dict[Grid, Cells] = {"input": job.images.size, "native": raw}
    wanted = dict.fromkeys(module.METRIC.grid for module, _ in job.metrics.values())
    wholes = {
        grid: Ensemble.of((job.side(label, maps) for maps in owners.values()), grid, grids[grid], ids)
        for grid in wanted
    }
    for (arch, seed), maps in owners.items():
        own = job.side(label, maps)
        known, others = job.shown(own.image_ids)
        what = {"arch": arch, "seed": seed, "arch2": ENSEMBLE, "layer": maps.methods[label].layer}
        for metric, same, chance in against(own, wholes, job.metrics, others):
            yield same, known.image_ids, {**what, "metric": metric, "variant": ENSEMBLE}
            yield chance, known.image_ids, {**what, "metric": metric, "variant": CHANCE}


def _layers(first: str, second: str) -> str:
    return first if first == second else f"{first} / {second}"


KINDS: Mapping[str, Callable[[_Job, str, Mapping[Model, Maps]], Iterator[Row]]] = {
    ARCHITECTURES: _architectures,
    ENSEMBLE: _ensemble,
}
