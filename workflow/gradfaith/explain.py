"""One cell: every method of a bundle asked for every image, the predicted and the true class.

Methods that read the same layer share its forward and one short backward per target; controls see the images and the
grid only. For each map that has a shuffled control, `copies` of it are made with its cells permuted, from a stream that
depends on the study's seed, the method, the image and the copy alone.

Rows are one per (image, class): all predicted classes first, then the true classes where the model was wrong.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from gradfaith import registry, rng
from gradfaith.methods.contract import Scene
from gradfaith.methods.shuffle import shuffled
from gradfaith.models.build import Classifier
from gradfaith.models.layers import resolve
from gradfaith.models.probe import probe
from gradfaith.models.taps import grid, tapped
from gradfaith.stores import MapInfo

SHUFFLED = "shuffled-"


@dataclass(frozen=True)
class Piece:
    """Some maps of one method, and the row of the store they begin at."""

    label: str
    info: MapInfo
    start: int
    maps: NDArray[np.float32]  # (n, copies, h, w)
    seconds: float


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
    pixels: Callable[[Sequence[str]], NDArray[np.uint8]],
    table: pd.DataFrame,  # as `rows` makes it
    methods: Mapping[str, Mapping[str, Any]],
    *,
    seed: int,
    copies: int,
    chunk: int,
) -> Iterator[Piece]:
    """All maps of a cell, chunk by chunk."""
    device = next(classifier.parameters()).device
    layers = {label: resolve(classifier.net, use["layer"]) for label, use in methods.items()}
    for layer in {layers[label] for label, use in methods.items() if use["room"] == "methods"}:
        probe(classifier, layer)
    for part in _chunks(table, pixels, chunk, device):
        for layer in dict.fromkeys(layers.values()):
            here = {label: use for label, use in methods.items() if layers[label] == layer}
            yield from _layer(classifier, layer, part, here, seed, copies)


def _chunks(table: pd.DataFrame, pixels: Any, size: int, device: torch.device) -> Iterator[Chunk]:
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


def _layer(
    classifier: Classifier, layer: str, part: Chunk, methods: Mapping[str, Mapping[str, Any]], seed: int, copies: int
) -> Iterator[Piece]:
    if all(use["room"] == "controls" for use in methods.values()):
        scene_grid = grid(classifier, layer)
        for label, use in methods.items():
            started = time.perf_counter()
            streams = [Generator().manual_seed(rng.seed(seed, "control", label, image)) for image in part.ids]
            module = registry.load("controls", use["use"])
            maps = module.attribute(Scene(part.images, scene_grid, streams), **use["options"])
            yield from _pieces(label, use, module, layer, part, maps, maps, time.perf_counter() - started, seed, copies)
        return
    started = time.perf_counter()
    with tapped(classifier, layer) as tap:
        tap.forward(part.images)
        predicted = tap.target(part.predicted)
        true = tap.target(part.true) if bool(part.wrong.any()) else predicted
        shared = time.perf_counter() - started
    for label, use in methods.items():
        started = time.perf_counter()
        module = registry.load("methods", use["use"])
        maps = module.attribute(predicted, **use["options"])
        other = module.attribute(true, **use["options"]) if true is not predicted else maps
        spent = shared + time.perf_counter() - started
        yield from _pieces(label, use, module, layer, part, maps, other, spent, seed, copies)


def _pieces(
    label: str, use: Mapping[str, Any], module: Any, layer: str, part: Chunk,
    predicted: Tensor, true: Tensor, seconds: float, seed: int, copies: int,
) -> Iterator[Piece]:  # fmt: skip
    declared = module.METHOD
    info = MapInfo(use["use"], layer if use["room"] == "methods" else "", declared.grid, declared.signed, 1)
    wrong = part.wrong.nonzero().squeeze(1).tolist()
    for maps, start, members in ((predicted, part.starts[0], range(len(part.ids))), (true, part.starts[1], wrong)):
        if len(members):
            own = maps[list(members)]
            yield Piece(label, info, start, own[:, None].float().cpu().numpy(), seconds)
            if use["shuffled"]:
                ids = [part.ids[member] for member in members]
                many = torch.stack([_shuffled(own, ids, label, copy, info.grid, seed) for copy in range(copies)], dim=1)
                shuffle = MapInfo(SHUFFLED + use["use"], info.layer, info.grid, info.signed, copies)
                yield Piece(SHUFFLED + label, shuffle, start, many.float().cpu().numpy(), 0.0)


def _shuffled(maps: Tensor, ids: Sequence[str], label: str, copy: int, kind: Any, seed: int) -> Tensor:
    streams = [Generator().manual_seed(rng.seed(seed, "shuffle", label, image, copy)) for image in ids]
    return shuffled(maps, streams, kind)
