"""One cell: every method of a bundle asked for every image, the predicted and the true class.

Methods share what they need: one forward with all their layers tapped, and one short backward per target and kind of
score (attribution/shared_passes.py); the seconds of what is shared are paid in equal parts by all maps made from it (attribution/time_ledger.py).
Controls see the images, the organ and the grid only. For each map that has a shuffled control, `copies` of it are made with
its cells permuted. Whatever is random comes from a stream that depends on the study's seed,
the model, the method, the image and the copy alone: no two models share their chance, and no order or batch changes it.

Rows are one per (image, class): all predicted classes first, then the true classes where the model was wrong.

The provenance stamp of a map store: what the maps stand on, so that a number can be traced back to its images and code.
"""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from gradfaith.attribution.bound_method import Given, Use
from gradfaith.attribution.contract import Noted
from gradfaith.attribution.probe import probe
from gradfaith.attribution.support.shuffle import shuffled
from gradfaith.attribution.taps import grid
from gradfaith.attribution.time_ledger import Ledger, clock
from gradfaith.models.checkpoint import read_card
from gradfaith.models.classifier import Classifier
from gradfaith.runtime import device
from gradfaith.runtime.batching import Chunk, Most
from gradfaith.storage.map_info import MapInfo
from gradfaith.vocabulary import SHUFFLED, Score

Pixels = Callable[[Sequence[str]], NDArray[np.uint8]]  # image ids -> (n, c, h, w)
Organ = Callable[[Sequence[str]], NDArray[np.bool_]]  # image ids -> (n, h, w)
SPARE = 8  # rows of a pass; where fewer fit beside a batch of several images, the batch is what is too large


@dataclass(frozen=True)
class Piece:
    """Some maps of one method, and the row of the store they begin at."""

    label: str
    info: MapInfo
    start: int
    maps: NDArray[np.float32]  # (n, copies, h, w)
    seconds: float
    notes: Mapping[str, NDArray[np.float32]]  # each (n,)


@dataclass(frozen=True)
class Role:
    """The classes asked of some images of a chunk: the predicted one of all, or the true one where it differs."""

    ids: Sequence[str]
    rows: Tensor  # (n,) in the chunk
    target: Tensor  # (n,)
    start: int  # in the store


def map_rows(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """The rows of the cell's store: image_id, target (class index) and role."""
    place = {name: number for number, name in enumerate(classes)}
    correct = predictions["predicted"] == predictions["label"]
    first = pd.DataFrame({"image_id": predictions["image_id"], "target": predictions["predicted"].map(place)})
    second = pd.DataFrame({"image_id": predictions["image_id"], "target": predictions["label"].map(place)})
    first["role"] = np.where(correct, "both", "predicted")
    return pd.concat([first, second.assign(role="true")[~correct]], ignore_index=True)


@dataclass(frozen=True)
class Cell:
    """One model and one bundle."""

    classifier: Classifier
    pixels: Pixels
    table: pd.DataFrame  # as `rows` makes it
    uses: Sequence[Use]
    key: tuple[object, ...]  # names the study's seed and the model
    copies: int
    most: Most
    organ: Organ | None = None
    probed: bool = True  # a layer without a map is refused
    now: Callable[[torch.device], float] = clock

    def pieces(self) -> Iterator[Piece]:
        """All maps, chunk by chunk."""
        for _, found in self._batch.pieces(len(self._first), self._chunk):
            yield from found

    def _chunk(self, some: slice) -> list[Piece]:
        roles, found = self._roles(some), list[Piece]()
        images = torch.from_numpy(self.pixels(roles[0].ids)).to(self._device).float() / 255
        layers = list(dict.fromkeys(layer for use in self.uses for layer in use.layers))
        curved = any("curvature" in use.wants for use in self.uses)
        organ = None if self.organ is None else torch.from_numpy(self.organ(roles[0].ids)).to(self._device)
        grids = self.grids  # probed before the first graph: a probe touches weights that are zero
        chunk, ledger = self._beside(len(images)), Ledger(partial(self.now, self._device))
        with shared_passes.meeting(
            self.classifier, images, layers, chunk=chunk, curved=curved, ledger=ledger
        ) as meeting:
            for role in roles:
                supplies: dict[Score, shared_passes.Supply] = {}
                own = None if organ is None else organ[role.rows]
                for use in self.uses:
                    if use.score not in supplies:
                        supplies[use.score] = meeting.asked(role.target, role.rows, use.score)
                    streams = self.streams(role.ids, "control" if use.control else "method", use.label)
                    given = Given(supplies[use.score], streams, grids[use.layer], own)
                    found.extend(self._answer(use, given, role))
        took = ledger.seconds()
        return [replace(piece, seconds=took.get((piece.label, piece.start), 0.0)) for piece in found]

    def _answer(self, use: Use, given: Given, role: Role) -> Iterator[Piece]:
        """The maps of one method for one role, and their shuffled copies; their seconds are known at the end."""
        with given.supply.ledger.user((use.label, role.start), len(role.ids)):
            answer = use.attribute(given)
        noted = answer if isinstance(answer, Noted) else Noted(answer)
        notes = {name: values.float().cpu().numpy() for name, values in noted.notes.items()}
        maps = noted.maps.float()
        yield Piece(use.label, use.info(1), role.start, _stored(maps[:, None]), 0.0, notes)
        if use.shuffled:
            draw = [self.streams(role.ids, "shuffle", use.label, copy) for copy in range(self.copies)]
            many = torch.stack([shuffled(maps, own, use.declared.grid) for own in draw], dim=1)
            info = replace(use.info(self.copies), method=SHUFFLED + use.name)
            yield Piece(SHUFFLED + use.label, info, role.start, _stored(many), 0.0, {})

    def streams(self, ids: Sequence[str], *purpose: object) -> list[Generator]:
        """A generator for every image."""
        return [Generator().manual_seed(rng.seed(*self.key, *purpose, image)) for image in ids]

    def _roles(self, some: slice) -> list[Role]:
        here = self._first.iloc[some]
        ids, target = list(here["image_id"]), torch.tensor(here["target"].to_numpy(), device=self._device)
        roles = [Role(ids, torch.arange(len(ids), device=self._device), target, some.start)]
        wrong = np.flatnonzero(here["role"] == "predicted")
        if len(wrong):
            images = [ids[row] for row in wrong]
            true = torch.tensor([int(self._true[image]) for image in images], device=self._device)
            start = len(self._first) + int((self._first["role"].iloc[: some.start] == "predicted").sum())
            roles.append(Role(images, torch.tensor(wrong, device=self._device), true, start))
        return roles

    @property
    def _device(self) -> torch.device:
        return self.classifier.mean.device

    @cached_property
    def _first(self) -> pd.DataFrame:
        return self.table[self.table["role"] != "true"]

    @cached_property
    def _true(self) -> pd.Series:
        return self.table[self.table["role"] == "true"].set_index("image_id")["target"]

    @cached_property
    def _batch(self) -> Chunk:
        """How many images meet the network at once."""
        return Chunk(self.most, self._device)

    def _beside(self, images: int) -> Chunk:
        """How many rows a pass takes beside so many images. Known anew where that changes: a smaller batch leaves more room."""
        return self._batch.of(images, least=SPARE if images > 1 else 1)

    @cached_property
    def grids(self) -> Mapping[str, tuple[int, int]]:
        """Of every layer that is tapped or that a control stands beside; a layer without a map is refused."""
        informed = {layer for use in self.uses for layer in use.layers}
        every = dict.fromkeys(layer for use in self.uses for layer in (use.layer, *use.layers))
        return {
            layer: (probe if self.probed and layer in informed else grid)(self.classifier, layer) for layer in every
        }


def _stored(maps: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = maps.float().cpu().numpy()
    return found


VERSIONED = ("torch", "timm", "numpy", "h5py")


class Digested(Protocol):
    """Images that say which they are."""

    @property
    def digest(self) -> str: ...


def provenance_stamp(
    wildcards: Any, settings: Mapping[str, Any], code: str, images: Digested, card: Path, model: Classifier
) -> dict[str, Any]:
    """What a reader checks, and what a reviewer looks up."""
    place = next(model.parameters()).device
    return {
        "arch": wildcards.arch,
        "seed": int(wildcards.seed),
        "bundle": wildcards.bundle,
        "images_digest": images.digest,
        "weights_sha256": read_card(card)["weights_sha256"],
        "settings": dict(settings),
        "code": code,
        "device": device.name(place),
        **settings["passes"],
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in VERSIONED},
    }
