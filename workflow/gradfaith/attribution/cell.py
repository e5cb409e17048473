"""Compute the maps of one cell: every method of a bundle, for every selected image, for the predicted and the true class.

Images are selected by part of the split. Optionally, only correctly classified images are selected, or a number of images
drawn evenly by group.

Methods share passes (attribution/shared_passes.py): one forward with all their layers tapped, and one short backward for
each target and kind of score. The time of a shared pass is divided equally among all maps made from it
(attribution/time_ledger.py). Controls receive only the images, the organ and the grid. If a map has a shuffled control,
`copies` copies with permuted positions are made of it (`shuffle_maps`). Every random stream depends only on the study's
seed, the model, the method, the image and the copy. So no two models share a stream, and order and batch size change none.

The store of a cell has one row per image and class: first all predicted classes, then the true classes of the misclassified
images, then, if a metric of the study reads them, the two contrast classes of each image. `provenance_stamp` describes what the
maps were made from, so that every number can be traced to images and code.
"""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from gradfaith import rng
from gradfaith.attribution import shared_passes
from gradfaith.attribution.bound_method import BoundMethod, MethodCall, tapped_layers
from gradfaith.attribution.contract import MapsWithDiagnostics
from gradfaith.attribution.probe import probe
from gradfaith.attribution.taps import layer_grid
from gradfaith.attribution.time_ledger import TimeLedger, clock
from gradfaith.config.job_settings import ExplainSettings
from gradfaith.config.study import ImageSelection
from gradfaith.errors import StudyInvalid
from gradfaith.models.checkpoint import read_card
from gradfaith.models.classifier import Classifier
from gradfaith.models.layers import BLACK_BOX_GRID, is_black_box
from gradfaith.runtime import device
from gradfaith.runtime.device import AdaptiveBatch, BatchLimit
from gradfaith.storage.map_info import MapInfo
from gradfaith.vocabulary import CONTRAST_ROLES, SHUFFLED, Grid, Score


def select_images(predictions: pd.DataFrame, selection: ImageSelection, seed: int) -> pd.DataFrame:
    """Return the rows of the predictions whose images are explained, in their order.

    With `max_images`, groups take turns, and the images of a group have a seeded order. So every model of the study
    explains the same images if `only_correct` is false.
    """
    selected, only_correct = predictions[predictions["part"].isin(selection.parts)], selection.only_correct
    if only_correct:
        selected = selected[selected["correct"]]
    if selected.empty:
        raise StudyInvalid(
            problem=f"explain: parts {', '.join(selection.parts)} have no {'correctly classified ' if only_correct else ''}image.",
            reason="Without images there are no maps to measure.",
            fix="Set explain.parts to parts that have images, or set explain.only_correct to false.",
        )
    return sample_evenly(selected, selection.max_images, seed)


def sample_evenly(selected: pd.DataFrame, max_images: int | None, seed: int) -> pd.DataFrame:
    """Return at most `max_images` rows, in their order; a smaller number selects a subset of a larger one's rows."""
    if max_images is None or len(selected) <= max_images:
        return selected.reset_index(drop=True)
    draw = selected["image_id"].map(lambda image: rng.seed(seed, "explain", image))
    turn = draw.groupby(selected["group"]).rank(method="first")
    order = pd.DataFrame({"turn": turn, "lot": draw}).sort_values(["turn", "lot"]).index[:max_images]
    return selected.loc[sorted(order)].reset_index(drop=True)


ReadPixels = Callable[[Sequence[str]], NDArray[np.uint8]]  # image ids -> (n, c, h, w)
ReadOrgan = Callable[[Sequence[str]], NDArray[np.bool_]]  # image ids -> (n, h, w)
MIN_PASS_ROWS = 8  # rows of a method's own pass; if fewer fit beside several images, the batch of images is halved
STAMPED_PACKAGES = ("torch", "timm", "captum", "numpy", "h5py")


@dataclass(frozen=True)
class MapChunk:
    """Maps of one method for consecutive rows of the map store."""

    label: str
    info: MapInfo
    start: int  # the first row in the store
    maps: NDArray[np.float32]  # (n, copies, h, w)
    seconds: float
    diagnostics: Mapping[str, NDArray[np.float32]]  # each (n,)


@dataclass(frozen=True)
class TargetRows:
    """The target classes of some images of a batch: the predicted class of all, or another one of some."""

    ids: Sequence[str]
    rows: Tensor  # (n,) in the batch
    target: Tensor  # (n,)
    start: int  # the first row in the store


def map_rows(
    predictions: pd.DataFrame, classes: Sequence[str], contrast: Sequence[tuple[str, str]] = ()
) -> pd.DataFrame:
    """Return the rows of the cell's store: image_id, target (class index) and role (both, predicted, true or a contrast class).

    `contrast`: two more classes of each image, or empty names; then there are rows for them too.
    """
    class_index = {name: number for number, name in enumerate(classes)}
    correct = predictions["predicted"] == predictions["label"]
    first = pd.DataFrame({"image_id": predictions["image_id"], "target": predictions["predicted"].map(class_index)})
    second = pd.DataFrame({"image_id": predictions["image_id"], "target": predictions["label"].map(class_index)})
    first["role"] = np.where(correct, "both", "predicted")
    rows = [first, second.assign(role="true")[~correct]]
    for role, names in zip(CONTRAST_ROLES, zip(*contrast, strict=True), strict=False):
        named = pd.DataFrame({"image_id": predictions["image_id"], "target": list(names), "role": role})
        named = named[named["target"] != ""]
        rows.append(named.assign(target=named["target"].map(class_index)))
    return pd.concat(rows, ignore_index=True)


@dataclass(frozen=True)
class MapCell:
    """The maps of one model and one bundle; `map_chunks` computes them."""

    classifier: Classifier
    pixels: ReadPixels
    table: pd.DataFrame  # the rows of the store, from `map_rows`
    methods: Sequence[BoundMethod]
    key: tuple[object, ...]  # the study's seed and the model; the first part of the key of every random stream
    copies: int  # number of shuffled copies per map
    batch_limit: BatchLimit
    organ: ReadOrgan | None = None
    probe_layers: bool = True  # raise an error for a layer that gives no map
    read_clock: Callable[[torch.device], float] = clock

    def map_chunks(self) -> Iterator[MapChunk]:
        """Compute all maps, batch by batch."""
        for _, chunks in self._batch.process(len(self._predicted_rows), self._compute_batch):
            yield from chunks

    def _compute_batch(self, rows: slice) -> list[MapChunk]:
        targets, chunks = self._target_rows(rows), list[MapChunk]()
        images = torch.from_numpy(self.pixels(targets[0].ids)).to(self._device).float() / 255
        layers = tapped_layers(self.methods)
        curved = any("curvature" in method.needs for method in self.methods)
        organ = None if self.organ is None else torch.from_numpy(self.organ(targets[0].ids)).to(self._device)
        grids = self.grids  # probed before the first graph, because a probe changes weights that are zero
        pass_rows, ledger = self._rows_per_pass(len(images)), TimeLedger(partial(self.read_clock, self._device))
        with shared_passes.open_shared_passes(
            self.classifier, images, layers, chunk=pass_rows, curved=curved, ledger=ledger
        ) as shared:
            for target in targets:
                inputs: dict[Score, shared_passes.MethodInputs] = {}
                target_organ = None if organ is None else organ[target.rows]
                for method in self.methods:
                    if method.score not in inputs:
                        inputs[method.score] = shared.for_target(target.target, target.rows, method.score)
                    streams = self.streams(target.ids, "control" if method.is_control else "method", method.label)
                    call = MethodCall(inputs[method.score], streams, grids[method.layer], target_organ)
                    chunks.extend(self._compute_maps(method, call, target))
        seconds = ledger.seconds()
        return [replace(chunk, seconds=seconds.get((chunk.label, chunk.start), 0.0)) for chunk in chunks]

    def _compute_maps(self, method: BoundMethod, call: MethodCall, target: TargetRows) -> Iterator[MapChunk]:
        """Compute the maps of one method and their shuffled copies; `_compute_batch` fills in the seconds."""
        with call.inputs.ledger.charge_maps((method.label, target.start), len(target.ids)):
            result = method.attribute(call)
        with_diagnostics = result if isinstance(result, MapsWithDiagnostics) else MapsWithDiagnostics(result)
        diagnostics = {name: values.float().cpu().numpy() for name, values in with_diagnostics.diagnostics.items()}
        maps = with_diagnostics.maps.float()
        yield MapChunk(method.label, method.map_info(1), target.start, _to_numpy(maps[:, None]), 0.0, diagnostics)
        if method.shuffled:
            draws = [self.streams(target.ids, "shuffle", method.label, copy) for copy in range(self.copies)]
            copies = torch.stack([shuffle_maps(maps, draw, method.declared.grid) for draw in draws], dim=1)
            info = replace(method.map_info(self.copies), method=SHUFFLED + method.name)
            yield MapChunk(SHUFFLED + method.label, info, target.start, _to_numpy(copies), 0.0, {})

    def streams(self, ids: Sequence[str], *purpose: object) -> list[Generator]:
        """Return one generator per image, seeded by the cell's key, the purpose and the image."""
        return [Generator().manual_seed(rng.seed(*self.key, *purpose, image)) for image in ids]

    def _target_rows(self, rows: slice) -> list[TargetRows]:
        batch = self._predicted_rows.iloc[rows]
        ids, predicted = list(batch["image_id"]), torch.tensor(batch["target"].to_numpy(), device=self._device)
        targets = [TargetRows(ids, torch.arange(len(ids), device=self._device), predicted, rows.start)]
        place = {image: row for row, image in enumerate(ids)}
        for role in ("true", *CONTRAST_ROLES):
            own = self.table[(self.table["role"] == role) & self.table["image_id"].isin(ids)]
            if len(own):  # consecutive rows, because every role has the images in one order
                in_batch = torch.tensor([place[image] for image in own["image_id"]], device=self._device)
                classes = torch.tensor(own["target"].to_numpy(dtype=np.int64), device=self._device)
                targets.append(TargetRows(list(own["image_id"]), in_batch, classes, int(own.index[0])))
        return targets

    @property
    def _device(self) -> torch.device:
        return self.classifier.mean.device

    @cached_property
    def _predicted_rows(self) -> pd.DataFrame:
        return self.table[~self.table["role"].isin(("true", *CONTRAST_ROLES))]

    @cached_property
    def _batch(self) -> AdaptiveBatch:
        """The number of images per pass of the network."""
        return AdaptiveBatch(self.batch_limit, self._device)

    def _rows_per_pass(self, images: int) -> AdaptiveBatch:
        """Return the rows of a method's own pass beside a batch of images; a smaller batch leaves more memory."""
        return self._batch.for_kind(images, minimum=MIN_PASS_ROWS if images > 1 else 1)

    @cached_property
    def grids(self) -> Mapping[str, tuple[int, int]]:
        """Height and width of every layer's grid; an error is raised for a tapped layer without a map."""
        tapped = tapped_layers(self.methods)
        layers = dict.fromkeys(layer for method in self.methods for layer in (method.layer, *method.layers))
        for layer in tapped if self.probe_layers else ():
            probe(self.classifier, layer)
        black_box = is_black_box(self.classifier.net)
        return {layer: BLACK_BOX_GRID if black_box else layer_grid(self.classifier, layer) for layer in layers}


def shuffle_maps(maps: Tensor, generators: Sequence[Generator], grid: Grid) -> Tensor:  # (n, h, w) -> (n, h, w)
    """Return one shuffled copy of each map, each drawn from its own generator.

    Native maps: the cells of the layer's grid are permuted before any upsampling. Input maps: the map is rolled by a
    random offset other than (0, 0). A shuffled map keeps its values, resolution and smoothness, and loses only the
    positions. Permuting the pixels of a smooth map would also destroy its smoothness, a biased control.
    """
    shuffle = _permute_cells if grid == "native" else _roll
    return torch.stack([shuffle(map_, generator) for map_, generator in zip(maps, generators, strict=True)])


def _permute_cells(map_: Tensor, generator: Generator) -> Tensor:  # (h, w) -> (h, w)
    order = torch.randperm(map_.numel(), generator=generator, device=generator.device)
    return map_.flatten()[order.to(map_.device)].reshape(map_.shape)


def _roll(map_: Tensor, generator: Generator) -> Tensor:  # (h, w) -> (h, w)
    _, width = map_.shape
    offset = int(torch.randint(1, map_.numel(), (), generator=generator, device=generator.device))
    return map_.roll((offset // width, offset % width), dims=(0, 1))


def _to_numpy(maps: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = maps.float().cpu().numpy()
    return array


class HasDigest(Protocol):
    """A store of images, or one image, with a digest of its content."""

    @property
    def digest(self) -> str: ...


def provenance_stamp(
    wildcards: Any, settings: ExplainSettings, code: str, images: HasDigest, card: Path, model: Classifier
) -> dict[str, Any]:
    """Return the stamp of a map store: the part that readers check, and the part for reproducing it."""
    return {
        "arch": wildcards.arch,
        "seed": int(wildcards.seed),
        "bundle": wildcards.bundle,
        "images_digest": images.digest,
        "weights_sha256": read_card(card)["weights_sha256"],
        "settings": settings.params(),
        "code": code,
        "device": device.device_name(model.mean.device),
        **asdict(model.passes),
        "threads": torch.get_num_threads(),
        "keeps_freed_memory": device.allocator_facts.keeps_freed_memory,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in STAMPED_PACKAGES},
    }
