"""One cell: every method of a bundle asked for every image, the predicted and the true class.

Methods that read the same layer share its forward and one short backward per target; controls see the images and the
grid only. For each map that has a shuffled control, `copies` of it are made with its cells permuted, from a stream that
depends on the study's seed, the model, the method, the image and the copy alone: no two models share their chance.

Rows are one per (image, class): all predicted classes first, then the true classes where the model was wrong.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from gradfaith import registry, rng
from gradfaith.methods.contract import Method, Scene
from gradfaith.methods.shuffle import shuffled
from gradfaith.models.build import Classifier
from gradfaith.models.layers import resolve
from gradfaith.models.probe import probe
from gradfaith.models.taps import grid, tapped
from gradfaith.registry import SHUFFLED
from gradfaith.stores import MapInfo

Pixels = Callable[[Sequence[str]], NDArray[np.uint8]]  # image ids -> (n, c, h, w)
Uses = Mapping[str, Mapping[str, Any]]  # label -> room, file, layer, options, whether it is shuffled


@dataclass(frozen=True)
class Piece:
    """Some maps of one method, and the row of the store they begin at."""

    label: str
    info: MapInfo
    start: int
    maps: NDArray[np.float32]  # (n, copies, h, w)
    seconds: float


@dataclass(frozen=True)
class Asked:
    """What one method answered for a chunk: its maps of the predicted and of the true classes."""

    label: str
    use: Mapping[str, Any]
    declared: Method
    layer: str
    predicted: Tensor  # (n, h, w)
    true: Tensor  # (n, h, w)
    seconds: float

    def pieces(self, part: "Chunk", copies: int, key: tuple[object, ...]) -> Iterator[Piece]:
        info = MapInfo(self.use["use"], self.layer, self.declared.grid, self.declared.signed, 1)
        wrong = part.wrong.nonzero().squeeze(1).tolist()
        each = self.seconds / (len(part.ids) + len(wrong))
        for maps, start, members in (
            (self.predicted, part.starts[0], range(len(part.ids))),
            (self.true, part.starts[1], wrong),
        ):
            if not len(members):
                continue
            own, ids = maps[list(members)], [part.ids[member] for member in members]
            yield Piece(self.label, info, start, own[:, None].float().cpu().numpy(), each * len(ids))
            if self.use["shuffled"]:
                many = torch.stack(
                    [self._shuffled(own, ids, (*key, "shuffle", self.label, copy)) for copy in range(copies)], dim=1
                )
                shuffle = replace(info, method=SHUFFLED + info.method, copies=copies)
                yield Piece(SHUFFLED + self.label, shuffle, start, many.float().cpu().numpy(), 0.0)

    def _shuffled(self, maps: Tensor, ids: Sequence[str], key: tuple[object, ...]) -> Tensor:
        streams = [Generator().manual_seed(rng.seed(*key, image)) for image in ids]
        return shuffled(maps, streams, self.declared.grid)


@dataclass(frozen=True)
class Chunk:
    """Some images and the classes asked of them: predicted for all, true where it differs."""

    images: Tensor  # (n, c, h, w) in [0, 1]
    ids: Sequence[str]
    predicted: Tensor  # (n,)
    wrong: Tensor  # (n,) bool
    true: Tensor  # (n,)
    starts: tuple[int, int]  # rows at which the predicted and the true classes begin


def rows(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """The rows of the cell's store: image_id, target (class index) and role."""
    place = {name: number for number, name in enumerate(classes)}
    correct = predictions["predicted"] == predictions["label"]
    first = pd.DataFrame({"image_id": predictions["image_id"], "target": predictions["predicted"].map(place)})
    second = pd.DataFrame({"image_id": predictions["image_id"], "target": predictions["label"].map(place)})
    first["role"] = np.where(correct, "both", "predicted")
    return pd.concat([first, second.assign(role="true")[~correct]], ignore_index=True)


def explain(
    classifier: Classifier,
    pixels: Pixels,
    table: pd.DataFrame,  # as `rows` makes it
    methods: Uses,
    *,
    key: tuple[object, ...],
    copies: int,
    chunk: int,
) -> Iterator[Piece]:
    """All maps of a cell, chunk by chunk; `key` names the study's seed and the model."""
    device = next(classifier.parameters()).device
    layer_of = {label: resolve(classifier.net, use["layer"]) for label, use in methods.items()}
    informed = {layer_of[label] for label, use in methods.items() if use["room"] == "methods"}
    grids = {
        layer: (probe if layer in informed else grid)(classifier, layer) for layer in dict.fromkeys(layer_of.values())
    }
    for part in _chunks(table, pixels, chunk, device):
        for layer, cells in grids.items():
            here = {label: use for label, use in methods.items() if layer_of[label] == layer}
            controls = {label: use for label, use in here.items() if use["room"] == "controls"}
            known = {label: use for label, use in here.items() if label not in controls}
            for one in chain(_controls(cells, part, controls, key), _informed(classifier, layer, part, known)):
                yield from one.pieces(part, copies, key)


def _chunks(table: pd.DataFrame, pixels: Pixels, size: int, device: torch.device) -> Iterator[Chunk]:
    first = table[table["role"] != "true"]
    true = table[table["role"] == "true"].set_index("image_id")["target"]
    done = len(first)
    for start in range(0, len(first), size):
        some = first.iloc[start : start + size]
        ids = list(some["image_id"])
        predicted = torch.tensor(some["target"].to_numpy(), device=device)
        wrong = torch.tensor((some["role"] == "predicted").to_numpy(), device=device)
        other = torch.tensor([int(true.get(image, -1)) for image in ids], device=device)
        images = torch.from_numpy(pixels(ids)).to(device).float() / 255
        yield Chunk(images, ids, predicted, wrong, torch.where(wrong, other, predicted), (start, done))
        done += int(wrong.sum())


def _controls(cells: tuple[int, int], part: Chunk, methods: Uses, key: tuple[object, ...]) -> Iterator[Asked]:
    """Controls know the images and the grid."""
    for label, use in methods.items():
        started, module = time.perf_counter(), registry.load("controls", use["use"])
        streams = [Generator().manual_seed(rng.seed(*key, "control", label, image)) for image in part.ids]
        maps = module.attribute(Scene(part.images, cells, streams), **use["options"])
        yield Asked(label, use, module.METHOD, "", maps, maps, time.perf_counter() - started)


def _informed(classifier: Classifier, layer: str, part: Chunk, methods: Uses) -> Iterator[Asked]:
    """Methods that know the model share one forward, and a short backward for each target."""
    if not methods:
        return
    started = time.perf_counter()
    with tapped(classifier, layer) as tap:
        tap.forward(part.images)
        predicted = tap.target(part.predicted)
        true = tap.target(part.true) if bool(part.wrong.any()) else predicted
    shared = time.perf_counter() - started
    for label, use in methods.items():
        started, module = time.perf_counter(), registry.load("methods", use["use"])
        maps = module.attribute(predicted, **use["options"])
        other = module.attribute(true, **use["options"]) if true is not predicted else maps
        yield Asked(label, use, module.METHOD, layer, maps, other, shared + time.perf_counter() - started)
