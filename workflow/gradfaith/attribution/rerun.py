"""Compute maps again for modified images or another model; metrics/runners/rerun.py calls this.

A batch of modified images goes through the network once for all methods, with one backward per kind of score. A
method's own extra passes run only on the images for which its maps are needed. A shuffled copy is the method's new
map, permuted like its stored copy. Controls repeat their random draws for every image. A seeded method uses new draws
for a modified image, as in any second run. For another model it repeats its draws, so that only the model differs.

If a method raises an error, its images are computed one by one. A map that cannot be computed is NaN, and the log
gives the reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from gradfaith import rng
from gradfaith.attribution import shared_passes
from gradfaith.attribution.bound_method import BoundMethod, MethodCall, bind_methods, tapped_layers
from gradfaith.attribution.cell import MapCell, shuffle_maps
from gradfaith.attribution.contract import MapsWithDiagnostics
from gradfaith.config.job_settings import RerunSettings
from gradfaith.errors import GradFaithError
from gradfaith.metrics.contract import BoundPlugins, RerunBatch, WeightState
from gradfaith.metrics.runners.rerun import requested_reruns
from gradfaith.models.classifier import Classifier
from gradfaith.models.randomise import randomise_in_steps
from gradfaith.models.speed import prepare_for_speed
from gradfaith.runtime.device import AdaptiveBatch, BatchLimit
from gradfaith.storage.hdf5 import ImageStore, MapStore
from gradfaith.vocabulary import RANDOMISATION, SHUFFLED, Score

MapKey = tuple[str, int]  # the label of stored maps, and the number of the copy


@dataclass(frozen=True)
class Reexplainer:
    """The methods of a bundle on the trained network and, where a metric needs it, on a fully randomised one."""

    cells: Mapping[WeightState, MapCell]
    passes: AdaptiveBatch  # rows of a method's own passes

    def __call__(self, batch: RerunBatch) -> dict[MapKey, Tensor]:
        """Return the raw maps (n, h, w) that the batch requests, for the requested rows."""
        if batch.model not in self.cells:
            return _missing_maps(self.cells["trained"], batch)
        cell, maps = self.cells[batch.model], dict[MapKey, Tensor]()
        methods = [method for method in cell.methods if _wanted_keys(method, batch)]
        layers = tapped_layers(methods)
        curved = any("curvature" in method.needs for method in methods)
        all_rows = torch.arange(len(batch.images), device=batch.images.device)
        with shared_passes.open_shared_passes(
            cell.classifier, batch.images, layers, chunk=self.passes, curved=curved
        ) as shared:
            inputs: dict[Score, shared_passes.MethodInputs] = {}
            for method in methods:
                if method.score not in inputs:
                    inputs[method.score] = shared.for_target(batch.target, all_rows, method.score)
                maps.update(_method_maps(cell, method, inputs[method.score], batch))
        return maps


def build_reexplainer(
    model: Classifier, images: ImageStore, maps: MapStore, metrics: BoundPlugins, settings: RerunSettings,
    key: tuple[int, str, int], *, batch_limit: BatchLimit,
) -> Reexplainer:  # fmt: skip
    """Build a Reexplainer with the methods and pass settings of the stored maps.

    `key`: the study's seed, the architecture and its seed, as in the cell of the stored maps.
    """
    networks: dict[WeightState, Classifier] = {"trained": model}
    if any(step.model == "randomised" for step in chain(*requested_reruns(metrics).values())):
        ((_, _, networks["randomised"]),) = randomise_in_steps(
            model, ["top_down"], 1, seed=rng.seed(*key, RANDOMISATION)
        )
    organ = (lambda ids: images.mask(settings.organ, ids)[0]) if settings.organ else None
    methods = bind_methods(model, settings.methods)
    cells: dict[WeightState, MapCell] = {}
    for name, network in networks.items():
        try:
            ready = prepare_for_speed(network, settings.passes, tapped_layers(methods))
        except GradFaithError as error:
            if name == "trained":
                raise
            print(f"no map of the {name} network: {error.problem}", flush=True)  # noqa: T201 - the job's log
            continue
        cells[name] = MapCell(
            ready, images.pixels, maps.rows, methods, key, copies=1, batch_limit=batch_limit, organ=organ,
            probe_layers=False,
        )  # fmt: skip
    return Reexplainer(cells, AdaptiveBatch(batch_limit, model.mean.device))


def _missing_maps(cell: MapCell, batch: RerunBatch) -> dict[MapKey, Tensor]:
    """Return NaN for every requested map of a network that could not be prepared."""
    maps = {}
    for method in cell.methods:
        for key in _wanted_keys(method, batch):
            size = _map_size(cell, method, batch)
            maps[key] = torch.full((len(batch.wanted[key]), *size), torch.nan, device=batch.images.device)
    return maps


def _map_size(cell: MapCell, method: BoundMethod, batch: RerunBatch) -> Sequence[int]:
    return cell.grids[method.layer] if method.declared.grid == "native" else batch.images.shape[-2:]


def _wanted_keys(method: BoundMethod, batch: RerunBatch) -> list[MapKey]:
    """Return the keys of the requested maps of a method and of its shuffled copies."""
    return [key for key in batch.wanted if key[0] in {method.label, SHUFFLED + method.label}]


def _method_maps(
    cell: MapCell, method: BoundMethod, inputs: shared_passes.MethodInputs, batch: RerunBatch
) -> Iterator[tuple[MapKey, Tensor]]:
    """Run one method once for its own maps and its shuffled copies."""
    keys = _wanted_keys(method, batch)
    rows = torch.unique(torch.cat([batch.wanted[key] for key in keys]))
    all_maps = _maps_of_rows(cell, method, inputs, batch, rows)
    for label, copy in keys:
        wanted = batch.wanted[label, copy]
        maps = all_maps[torch.searchsorted(rows, wanted)]
        if label != method.label:
            ids = [batch.image_ids[row] for row in wanted.tolist()]
            maps = shuffle_maps(maps, cell.streams(ids, "shuffle", method.label, copy), method.declared.grid)
        yield (label, copy), maps


def _maps_of_rows(
    cell: MapCell, method: BoundMethod, inputs: shared_passes.MethodInputs, batch: RerunBatch, rows: Tensor
) -> Tensor:  # (r, h0, w0)
    """Compute the method's maps of some rows; NaN for a row on which it raises an error."""
    ids, changes = ([column[row] for row in rows.tolist()] for column in (batch.image_ids, batch.changes))
    organ = None if cell.organ is None else torch.from_numpy(cell.organ(ids)).to(rows.device)
    streams = _streams(cell, method, batch.model, ids, changes)
    call = MethodCall(inputs.subset(rows), streams, cell.grids[method.layer], organ)
    try:
        result = method.attribute(call)
        return (result.maps if isinstance(result, MapsWithDiagnostics) else result).float()
    except (GradFaithError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        if len(rows) > 1:
            return torch.cat([_maps_of_rows(cell, method, inputs, batch, row[None]) for row in rows])
        reason = error.problem if isinstance(error, GradFaithError) else str(error)
        print(f"{method.label}, {changes[0]}, {ids[0]}: {reason}", flush=True)  # noqa: T201 - the job's log
        return torch.full((1, *_map_size(cell, method, batch)), torch.nan, device=rows.device)


def _streams(
    cell: MapCell, method: BoundMethod, model: WeightState, ids: Sequence[str], changes: Sequence[str]
) -> list[torch.Generator]:
    """Return the generators of the stored maps, or new ones for a seeded method on modified images."""
    if method.is_control or model == "randomised":
        return cell.streams(ids, "control" if method.is_control else "method", method.label)
    return [
        stream
        for image, change in zip(ids, changes, strict=True)
        for stream in cell.streams([image], "again", change, method.label)
    ]
