"""What the engine works on: a battery's metrics and imputers, a block of maps, and the model, asked in batches that fit."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Generator, Tensor

from gradfaith import rng
from gradfaith.errors import StudyInvalid
from gradfaith.metrics.contract import Chosen, Context, Model, Scores
from gradfaith.runtime.batching import Chunk, Most


class Asker:
    """The model, asked in batches that fit."""

    def __init__(self, model: Model, chunk: Most, device: torch.device) -> None:
        self.model, self.device, self.done = model, device, 0
        self.chunk = Chunk(chunk, device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:  # (n, c, h, w) -> (n, k)
        answers = self.chunk.pieces(len(images), lambda some: self.model(images[some].to(self.device)).float())
        logits = [answer for _, answer in answers]
        self.done += len(images)
        return torch.cat(logits) if logits else torch.zeros(0, 0, device=self.device)


@dataclass(frozen=True)
class Battery:
    """What is asked of every map: metrics, imputers, and what imputers may know."""

    metrics: Chosen
    imputers: Chosen
    mean: Tensor | None
    image_ids: Sequence[str]
    key: tuple[object, ...]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(metric, imputer) for metric in self.metrics for imputer in self.imputers]


Known = dict[tuple[str, str, int], Tensor]  # (imputer, change, image) -> (k,) logits


@dataclass(frozen=True)
class Asked:
    """Maps, and the class each explains."""

    unit: Tensor  # (u, h, w); all zero where there is no map
    target: Tensor  # (u,)

    @cached_property
    def mass(self) -> Tensor:  # (u,)
        return self.unit.sum(dim=(1, 2))

    def scores(self, logits: Tensor, keep: Tensor | None = None) -> Scores:
        """What logits (u, k) say of these classes, and how much of these maps a change has taken away."""
        of_target = self.target.unsqueeze(1)
        logit, probability = (values.gather(1, of_target).squeeze(1) for values in (logits, logits.softmax(dim=1)))
        if keep is None:
            return Scores(logit, probability, torch.zeros_like(logit), torch.zeros_like(logit))
        gone = 1 - keep
        return Scores(logit, probability, (self.unit * gone).sum(dim=(1, 2)) / self.mass, gone.mean(dim=(1, 2)))


@dataclass(frozen=True)
class Block:
    """Some usable maps, end to end, and what belongs to them."""

    unit: Tensor  # (u, h, w)
    image_of: Tensor  # (u,)
    target: Tensor  # (u,)
    images: Tensor  # (u, c, h, w)
    base: Tensor  # (u, k), their logits
    battery: Battery
    known: Known  # answers to changes that are the same for all maps of an image, from earlier blocks too
    regions: Tensor | None = None  # (u, h, w)
    rival: Asked | None = None
    drawn: dict[str, Tensor] = field(default_factory=dict)  # by purpose

    @cached_property
    def own(self) -> Asked:
        return Asked(self.unit, self.target)

    def scores(self, logits: Tensor, keep: Tensor | None = None) -> Scores:  # (u, k), (u, h, w)
        found = self.own.scores(logits, keep)
        return found if self.rival is None else replace(found, rival=self.rival.scores(logits, keep))

    def draw(self, purpose: str) -> Tensor:  # (u, h, w)
        """Uniform numbers from each image's own stream, drawn on the CPU: the same on every device."""
        if purpose not in self.drawn:
            streams = {row: self._stream(purpose, row) for row in dict.fromkeys(self.image_of.tolist())}
            size = self.unit.shape[1:]
            numbers = {row: torch.rand(size, generator=stream) for row, stream in streams.items()}
            self.drawn[purpose] = torch.stack([numbers[row] for row in self.image_of.tolist()]).to(self.unit.device)
        return self.drawn[purpose]

    def _stream(self, purpose: str, row: int) -> Generator:
        name = self.battery.image_ids[row] if self.battery.image_ids else row
        return Generator().manual_seed(rng.seed(*self.battery.key, purpose, name))

    def changed(self, imputer: str, name: str, keep: Tensor, rows: Tensor | slice) -> Tensor:  # (r, c, h, w)
        """The images of some of the maps, as the change leaves them."""
        module, options = self.battery.imputers[imputer]
        images, keep = self.images[rows], keep[rows].to(self.images.dtype)
        if not len(images):  # all of them are known from an earlier block
            return images
        known = self.battery.image_ids
        ids = [known[row] for row in self.image_of[rows].tolist()] if known else []
        fill = module.fill(images, Context(keep, self.battery.mean, ids, self.battery.key, name), **options)
        return torch.lerp(fill, images, keep.unsqueeze(1))

    def unknown(self, imputer: str, name: str) -> Tensor:  # (r,)
        """One map for each image of which this change has not been asked before."""
        images = self.image_of.tolist()
        first = {image: row for row, image in reversed(list(enumerate(images)))}
        rows = sorted(row for image, row in first.items() if (imputer, name, image) not in self.known)
        return torch.tensor(rows, dtype=torch.long, device=self.unit.device)

    def remembered(self, imputer: str, name: str, rows: Tensor, logits: Tensor) -> Tensor:  # (u, k)
        """The answers for every map, after what has just been asked is added to what is known."""
        images = self.image_of.tolist()
        for row, answer in zip(rows.tolist(), logits, strict=True):
            self.known[imputer, name, images[row]] = answer
        return torch.stack([self.known[imputer, name, image] for image in images])


def one_mask(name: str, masks: Sequence[Tensor]) -> Tensor:  # (u, h, w)
    """The one mask that all metrics mean by a name."""
    if any(not torch.equal(masks[0], mask) for mask in masks[1:]):
        raise StudyInvalid(
            found=f'two metrics of one battery ask for different changes under the name "{name}".',
            why="What metrics ask for under one name is made once, so it must be the same masks.",
            then="Put the two into different batteries, or let the change's name carry the option that differs.",
        )
    return masks[0]
