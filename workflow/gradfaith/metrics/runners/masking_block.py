"""The parts of the masking runner: the model run in batches that fit into memory, the battery, a chunk of
images, and a block of maps.

A chunk is some of the battery's images, with the maps of all methods that explain them. These maps, end to end
across the methods, are taken in blocks, and are read when their block is. A block builds the changed images of
its maps and turns the model's logits into scores. Logits of changes that are the same for all maps of an image
are cached for the blocks of its chunk.
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
from gradfaith.metrics.contract import BoundPlugins, Context, ImagesToLogits, MethodMaps, Scores
from gradfaith.metrics.maps.evaluate import Evaluated, evaluate
from gradfaith.runtime.device import AdaptiveBatch, BatchLimit


class TensorRows(Protocol):
    """Rows that can be taken, by slice or by number: a tensor, or what reads them from a file when they are."""

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
    """What a battery computes for every map (metrics and imputers), and what its imputers receive."""

    metrics: BoundPlugins
    imputers: BoundPlugins
    mean: Tensor | None  # (c,) of the training images
    image_ids: Sequence[str]
    key: tuple[object, ...]  # of the random streams

    @property
    def pairs(self) -> list[MetricImputer]:
        return [(metric, imputer) for metric in self.metrics for imputer in self.imputers]

    @property
    def reads_rivals(self) -> bool:
        return any(module.METRIC.rival for module, _ in self.metrics.values())


LogitCache = dict[tuple[str, str, int], Tensor]  # (imputer, change, image) -> (k,) logits
Flags = tuple[NDArray[np.bool_], NDArray[np.bool_]]  # degenerate (m,), broken (m,)


@dataclass(frozen=True)
class TargetedMaps:
    """Maps, and the class each explains."""

    unit: Tensor  # (u, h, w); all zero where there is no map
    target: Tensor  # (u,)

    @cached_property
    def mass(self) -> Tensor:  # (u,)
        return self.unit.sum(dim=(1, 2))

    def scores(self, logits: Tensor, keep: Tensor | None = None) -> Scores:
        """Return the scores of these classes from logits (u, k), and how much of these maps `keep` (u, h, w) removes."""
        index = self.target.unsqueeze(1)
        logit, probability = (values.gather(1, index).squeeze(1) for values in (logits, logits.softmax(dim=1)))
        if keep is None:
            return Scores(logit, probability, torch.zeros_like(logit), torch.zeros_like(logit))
        removed = 1 - keep
        return Scores(logit, probability, (self.unit * removed).sum(dim=(1, 2)) / self.mass, removed.mean(dim=(1, 2)))


@dataclass(frozen=True)
class MapBlock:
    """Some usable maps, end to end, with their images and the model's logits of the unchanged images."""

    unit: Tensor  # (u, h, w)
    image_of: Tensor  # (u,) row of the image each map belongs to
    target: Tensor  # (u,)
    images: Tensor  # (u, c, h, w)
    base_logits: Tensor  # (u, k)
    battery: BatterySetup
    logit_cache: LogitCache  # of changes that are the same for all maps of an image; shared by the blocks of a chunk
    regions: Tensor | None = None  # (u, h, w)
    rival: TargetedMaps | None = None
    random_numbers: dict[str, Tensor] = field(default_factory=dict)  # by purpose

    @cached_property
    def targeted(self) -> TargetedMaps:
        return TargetedMaps(self.unit, self.target)

    def scores(self, logits: Tensor, keep: Tensor | None = None) -> Scores:  # (u, k), (u, h, w)
        """Return the scores of the maps' classes, and of their rival classes where there are any."""
        own = self.targeted.scores(logits, keep)
        return own if self.rival is None else replace(own, rival=self.rival.scores(logits, keep))

    def draw(self, purpose: str) -> Tensor:  # (u, h, w)
        """Return uniform numbers from each image's own stream, drawn on the CPU: the same on every device."""
        if purpose not in self.random_numbers:
            streams = {row: self._stream(purpose, row) for row in dict.fromkeys(self.image_of.tolist())}
            size = self.unit.shape[1:]
            numbers = {row: torch.rand(size, generator=stream) for row, stream in streams.items()}
            stacked = torch.stack([numbers[row] for row in self.image_of.tolist()])
            self.random_numbers[purpose] = stacked.to(self.unit.device)
        return self.random_numbers[purpose]

    def _stream(self, purpose: str, row: int) -> Generator:
        name = self.battery.image_ids[row] if self.battery.image_ids else row
        return Generator().manual_seed(rng.seed(*self.battery.key, purpose, name))

    def apply_change(self, imputer: str, name: str, keep: Tensor, rows: Tensor | slice) -> Tensor:  # (r, c, h, w)
        """Return the images of some of the maps after a change: removed pixels filled by the imputer."""
        module, options = self.battery.imputers[imputer]
        images, keep = self.images[rows], keep[rows].to(self.images.dtype)
        if not len(images):  # the logits of all of them are cached
            return images
        names = self.battery.image_ids
        ids = [names[row] for row in self.image_of[rows].tolist()] if names else []
        fill = module.fill(images, Context(keep, self.battery.mean, ids, self.battery.key, name), **options)
        return torch.lerp(fill, images, keep.unsqueeze(1))

    def rows_not_cached(self, imputer: str, name: str) -> Tensor:  # (r,)
        """Return one row for each image whose logits after this change are not in the cache."""
        images = self.image_of.tolist()
        first = {image: row for row, image in reversed(list(enumerate(images)))}
        rows = sorted(row for image, row in first.items() if (imputer, name, image) not in self.logit_cache)
        return torch.tensor(rows, dtype=torch.long, device=self.unit.device)

    def cache_logits(self, imputer: str, name: str, rows: Tensor, logits: Tensor) -> Tensor:  # (r,), (r, k) -> (u, k)
        """Add new logits to the cache, and return the logits of every map from it."""
        images = self.image_of.tolist()
        for row, image_logits in zip(rows.tolist(), logits, strict=True):
            self.logit_cache[imputer, name, images[row]] = image_logits
        return torch.stack([self.logit_cache[imputer, name, image] for image in images])


@dataclass(frozen=True)
class ImageChunk:
    """Some images of a battery, on the device, and which maps explain them: the same of every method."""

    rows: NDArray[np.int64]  # (m,) of a method's maps
    image_of: Tensor  # (m,) row in the battery of the image that each map belongs to
    first: int  # row in the battery of the first image
    images: Tensor  # (i, c, h, w)
    base_logits: Tensor  # (i, k) of the unchanged images
    regions: Tensor | None  # (i, h, w)

    def blocks(
        self, maps: Mapping[Any, MethodMaps], battery: BatterySetup, size: int
    ) -> Iterator[tuple[MapBlock, Flags]]:
        """Yield the usable maps in blocks of at most `size`, and which maps of each block are not usable."""
        cache: LogitCache = {}
        total = len(self.rows) * len(maps)
        for start in range(0, total, size):
            parts = list(self._parts(maps, slice(start, min(start + size, total))))
            unit, degenerate, broken = self._evaluate(parts, "raw")
            usable = ~(degenerate | broken)
            image_of = torch.cat([self.image_of[part] for _, part in parts])[usable]
            place = image_of - self.first
            yield (
                MapBlock(
                    unit=unit[usable],
                    image_of=image_of,
                    target=self._classes(parts, "target")[usable],
                    images=self.images[place],
                    base_logits=self.base_logits[place],
                    battery=battery,
                    logit_cache=cache,
                    regions=None if self.regions is None else self.regions[place],
                    rival=self._rival(parts, usable) if battery.reads_rivals else None,
                ),
                (degenerate.cpu().numpy(), broken.cpu().numpy()),
            )

    def _parts(self, maps: Mapping[Any, MethodMaps], block: slice) -> Iterator[tuple[MethodMaps, slice]]:
        """Yield the methods that a block has maps of, and which of this chunk's rows; maps lie end to end."""
        count = len(self.rows)
        for place, stored in enumerate(maps.values()):
            first, last = max(block.start - place * count, 0), min(block.stop - place * count, count)
            if first < last:
                yield stored, slice(first, last)

    def _rival(self, parts: Sequence[tuple[MethodMaps, slice]], usable: Tensor) -> "TargetedMaps":
        """Return the maps of the other class; zeros where the class, or its map, is missing."""
        unit = self._evaluate(parts, "rival").unit
        return TargetedMaps(unit[usable], self._classes(parts, "against")[usable])

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
    """Return the mask that all metrics use under this name; raise StudyInvalid where their masks differ."""
    if any(not torch.equal(masks[0], mask) for mask in masks[1:]):
        raise StudyInvalid(
            problem=f'two metrics of one battery ask for different changes under the name "{name}".',
            reason="What metrics ask for under one name is made once, so it must be the same masks.",
            fix="Put the two into different batteries, or let the change's name carry the option that differs.",
        )
    return masks[0]
