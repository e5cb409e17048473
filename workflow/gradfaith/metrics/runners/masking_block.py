"""Provide the parts of the masking runner: the model in batches that fit into memory, the battery, chunks and blocks.

A chunk is some of the battery's images, with the maps of all methods that explain them: about a batch of maps. So
everything that belongs to an image is made once for all of its maps. These maps, one method after the other, are
processed in blocks, and are read with their block. A block builds the modified images of its maps.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from gradfaith import rng
from gradfaith.errors import StudyInvalid
from gradfaith.metrics.contract import (
    BatteryMaps,
    BoundPlugins,
    Context,
    ImagesToLogits,
    MethodMaps,
    RenderFacts,
    Scores,
)
from gradfaith.metrics.maps.evaluate import Evaluated, evaluate
from gradfaith.metrics.maps.renders import RenderTable
from gradfaith.runtime.device import AdaptiveBatch, BatchLimit


class TensorRows(Protocol):
    """Rows that are indexed by slice or number: a tensor, or an object that reads them from a file when indexed."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Tensor: ...


class BatchedModel:
    """The model, run in batches that fit into memory; counts the images that it has run."""

    def __init__(self, model: ImagesToLogits, chunk: BatchLimit, device: torch.device) -> None:
        self.model, self.device, self.images_run = model, device, 0
        self.chunk = AdaptiveBatch(chunk, device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:  # (n, c, h, w) -> (n, k)
        batches = self.chunk.process(len(images), lambda some: self.model(images[some].to(self.device)).float())
        logits = [batch for _, batch in batches]
        self.images_run += len(images)
        return torch.cat(logits) if logits else torch.zeros(0, 0, device=self.device)


MetricImputer = tuple[str, str]  # labels of a metric and of an imputer; "" for a metric that reads no imputer


@dataclass(frozen=True)
class BatterySetup:
    """The computations of a battery for every map (metrics and imputers), and the inputs of its imputers."""

    metrics: BoundPlugins
    imputers: BoundPlugins
    mean: Tensor | None  # (c,) of the training images
    image_ids: Sequence[str]
    key: tuple[object, ...]  # of the random streams
    temperature: float = 1.0  # of the model's calibrated probabilities

    @property
    def pairs(self) -> list[MetricImputer]:
        return [(metric, imputer) for metric in self.metrics for imputer in self.imputers]

    @property
    def reads_rivals(self) -> bool:
        return any(module.METRIC.rival for module, _ in self.metrics.values())

    def is_seeded(self, imputer: str) -> bool:
        """Return whether an imputer draws random numbers, which differ for every change."""
        return bool(self.imputers[imputer][0].IMPUTER.seeded)


Flags = tuple[NDArray[np.bool_], NDArray[np.bool_]]  # degenerate (m,), broken (m,)


@dataclass(frozen=True)
class Removed:
    """The amount that a change removes, map by map; each (u,)."""

    mass: Tensor  # the share of the map's mass
    area: Tensor  # the share of the image
    rival_mass: Tensor | None = None  # of the rival class's map


@dataclass(frozen=True)
class MapClasses:
    """The class that each map of a block explains, and its rival class in a battery that reads rivals."""

    target: Tensor  # (u,)
    against: Tensor | None = None  # (u,)
    temperature: float = 1.0

    def scores(self, logits: Tensor, removed: Removed | None, render: RenderFacts | None = None) -> Scores:  # (u, k)
        """Return the scores of the classes; `removed`: None if no metric reads it."""
        answer = logits.argmax(dim=1)
        kinds = (logits, logits.softmax(dim=1), (logits / self.temperature).softmax(dim=1))

        def of(target: Tensor, mass: Tensor | None) -> Scores:
            logit, probability, calibrated = (values.gather(1, target[:, None])[:, 0] for values in kinds)
            area = None if removed is None else removed.area
            top = answer == target
            return Scores(logit, probability, mass, area, calibrated=calibrated, top=top, render=render)

        own = of(self.target, None if removed is None else removed.mass)
        if self.against is None:
            return own
        return replace(own, rival=of(self.against, None if removed is None else removed.rival_mass))


@dataclass(frozen=True)
class MapBlock:
    """Some usable maps, one method after the other, with their images."""

    unit: Tensor  # (u, h, w)
    image_of: Tensor  # (u,) row of each map's image
    classes: MapClasses
    images: Tensor  # (u, c, h, w)
    battery: BatterySetup
    regions: Tensor | None = None  # (u, h, w)
    rival: Tensor | None = None  # (u, h, w) maps of the rival classes; all zero if there is none
    renders: RenderTable | None = None  # (u, ...) images without parts
    random_numbers: dict[str, Tensor] = field(default_factory=dict)  # of the last purpose

    @property
    def maps(self) -> BatteryMaps:
        return BatteryMaps(self.unit, self.draw, self.regions, self.renders.sets if self.renders else ())

    @cached_property
    def first_maps(self) -> tuple["MapBlock", Tensor]:
        """Return a block of the first map of each image, and the index in it (u,) of each map's image."""
        images = self.image_of.tolist()
        first = {image: row for row, image in reversed(list(enumerate(images)))}
        place = {image: number for number, image in enumerate(first)}
        rows = torch.tensor(list(first.values()), device=self.unit.device)
        block = replace(
            self, unit=self.unit[rows], image_of=self.image_of[rows], images=self.images[rows], rival=None,
            classes=MapClasses(self.classes.target[rows], temperature=self.battery.temperature), random_numbers={},
            regions=None if self.regions is None else self.regions[rows],
        )  # fmt: skip
        return block, torch.tensor([place[image] for image in images], device=self.unit.device)

    def removed(self, keep: Tensor, place: Tensor | slice = slice(None)) -> Removed:  # (k, h, w)
        """Return the amount of the maps and of their rivals that a change removes; `place` (u,): the mask of each map."""
        gone = 1 - keep
        area, gone = gone.mean(dim=(1, 2))[place], gone[place]
        mass = (self.unit * gone).sum(dim=(1, 2)) / self._mass
        rival_mass = None if self.rival is None else (self.rival * gone).sum(dim=(1, 2)) / self._rival_mass
        return Removed(mass, area, rival_mass)

    @cached_property
    def _mass(self) -> Tensor:  # (u,)
        return self.unit.sum(dim=(1, 2))

    @cached_property
    def _rival_mass(self) -> Tensor:  # (u,)
        assert self.rival is not None
        return self.rival.sum(dim=(1, 2))

    def draw(self, purpose: str) -> Tensor:  # (u, h, w)
        """Return uniform numbers from each image's own stream. They are drawn on the CPU, so every device has the same."""
        if purpose not in self.random_numbers:
            streams = {row: self._stream(purpose, row) for row in dict.fromkeys(self.image_of.tolist())}
            size = self.unit.shape[1:]
            numbers = {row: torch.rand(size, generator=stream) for row, stream in streams.items()}
            stacked = torch.stack([numbers[row] for row in self.image_of.tolist()])
            self.random_numbers.clear()  # the numbers of all purposes would need as much memory as all modified images
            self.random_numbers[purpose] = stacked.to(self.unit.device)
        return self.random_numbers[purpose]

    def _stream(self, purpose: str, row: int) -> Generator:
        name = self.battery.image_ids[row] if self.battery.image_ids else row
        return Generator().manual_seed(rng.seed(*self.battery.key, purpose, name))

    def apply_change(self, imputer: str, name: str, keep: Tensor, rows: list[int] | slice) -> Tensor:  # (r, c, h, w)
        """Return the images of some of the maps after a change, `keep` (r, h, w): removed pixels filled by the imputer."""
        module, options = self.battery.imputers[imputer]
        images, keep = self.images[rows], keep.to(self.images.dtype)
        names = self.battery.image_ids
        ids = [names[row] for row in self.image_of[rows].tolist()] if names else []
        fill = module.fill(images, Context(keep, self.battery.mean, ids, self.battery.key, name), **options)
        return torch.lerp(fill, images, keep.unsqueeze(1))


@dataclass(frozen=True)
class ImageChunk:
    """Some images of a battery on the device, and the rows of the maps that explain them, the same for every method."""

    rows: NDArray[np.int64]  # (m,) of a method's maps
    image_of: Tensor  # (m,) row in the battery of each map's image
    first: int  # row in the battery of the first image
    images: Tensor  # (i, c, h, w)
    regions: Tensor | None  # (i, h, w)
    renders: RenderTable | None = None

    def blocks(
        self, maps: Mapping[Any, MethodMaps], battery: BatterySetup, size: int
    ) -> Iterator[tuple[MapBlock, Flags]]:
        """Yield the usable maps in blocks of at most `size`, and which maps of each block are not usable."""
        total = len(self.rows) * len(maps)
        for start in range(0, total, size):
            parts = list(self._parts(maps, slice(start, min(start + size, total))))
            unit, degenerate, broken = self._evaluate(parts, "raw")
            usable = ~(degenerate | broken)
            image_of = torch.cat([self.image_of[part] for _, part in parts])[usable]
            place = image_of - self.first
            rival, against = self._rival(parts, usable) if battery.reads_rivals else (None, None)
            yield (
                MapBlock(
                    unit=unit[usable],
                    image_of=image_of,
                    classes=MapClasses(self._classes(parts, "target")[usable], against, battery.temperature),
                    images=self.images[place],
                    battery=battery,
                    regions=None if self.regions is None else self.regions[place],
                    rival=rival,
                    renders=None if self.renders is None else self.renders.select(place.cpu()),
                ),
                (degenerate.cpu().numpy(), broken.cpu().numpy()),
            )

    def _parts(self, maps: Mapping[Any, MethodMaps], block: slice) -> Iterator[tuple[MethodMaps, slice]]:
        """Yield the methods whose maps are in a block, and their rows of this chunk; one method follows the other."""
        count = len(self.rows)
        for place, stored in enumerate(maps.values()):
            first, last = max(block.start - place * count, 0), min(block.stop - place * count, count)
            if first < last:
                yield stored, slice(first, last)

    def _rival(self, parts: Sequence[tuple[MethodMaps, slice]], usable: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of the other class, and that class; zeros if the class or its map is missing."""
        return self._evaluate(parts, "rival").unit[usable], self._classes(parts, "against")[usable]

    def _evaluate(self, parts: Sequence[tuple[MethodMaps, slice]], which: Literal["raw", "rival"]) -> Evaluated:
        device, size = self.images.device, (self.images.shape[-2], self.images.shape[-1])
        evaluated = [
            evaluate(
                torch.as_tensor(getattr(stored, which)[self.rows[part]]).to(device),
                grid=stored.grid, signed=stored.signed, reading=stored.reading, size=size,
            )
            for stored, part in parts
        ]  # fmt: skip
        return Evaluated(*(torch.cat(column) for column in zip(*evaluated, strict=True)))

    def _classes(self, parts: Sequence[tuple[MethodMaps, slice]], which: Literal["target", "against"]) -> Tensor:
        classes = [torch.as_tensor(getattr(stored, which), dtype=torch.long)[self.rows[part]] for stored, part in parts]
        return torch.cat(classes).to(self.images.device)


def require_one_mask(name: str, masks: Sequence[Tensor]) -> Tensor:  # (u, h, w)
    """Return the mask that all metrics use under this name; raise StudyInvalid if their masks differ."""
    if any(not torch.equal(masks[0], mask) for mask in masks[1:]):
        raise StudyInvalid(
            problem=f'two metrics of one battery remove different pixels, but call the modified images by the same name, "{name}".',
            reason="Metrics of one battery share the modified images of a name, so they must remove the same pixels.",
            fix="Put the two metrics into different batteries of the study. Or change the name in one metric's file: "
            "add the option in which the two metrics differ.",
        )
    return masks[0]
