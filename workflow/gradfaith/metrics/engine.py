"""Runs a battery of faithfulness metrics: asks the model about changed images, each distinct one once.

    changed = x * keep + fill * (1 - keep)            one per (map, imputer, change)

The maps of all methods are laid end to end and taken `chunk` at a time, so that batches are full across images, methods, changes
and imputers. Changes of one name must be the same masks: what several metrics ask for under a name is built and run once.
The model's answers to the unchanged images are computed once per image. Constant and broken maps cost no forward.

With chunk "auto" the batch starts large and is halved, for good, whenever the GPU is out of memory. The numbers do not depend on
the chunk, up to the rounding of the model itself. Cost: images + usable maps x distinct changes x imputers, in forwards.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from gradfaith.device import Chunk, Most
from gradfaith.errors import StudyInvalid
from gradfaith.metrics.contract import Chosen, Context, Maps, Model, Result, Scores, Stored, Values, join, settle
from gradfaith.metrics.evaluated import Evaluated, evaluate


@dataclass(frozen=True)
class Results:
    """Per method and (metric, imputer) a result; forwards that the metrics asked for one by one, and those that were run."""

    of: Mapping[Any, Mapping[tuple[str, str], Result]]
    planned: int
    done: int


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


@dataclass(frozen=True)
class Asked:
    """The usable maps of one block, and what belongs to them."""

    unit: Tensor  # (u, h, w)
    image_of: Tensor  # (u,)
    target: Tensor  # (u,)
    images: Tensor  # (n, c, h, w), all of them
    base: Tensor  # (n, k), their logits


def run(
    model: Model,
    images: Tensor,  # (n, c, h, w) in [0, 1]
    maps: Mapping[Any, Stored],
    metrics: Chosen,
    imputers: Chosen,
    *,
    mean: Tensor | None = None,  # (c,) of the training images
    image_ids: Sequence[str] = (),
    key: tuple[object, ...] = (),
    chunk: Most = "auto",
    device: torch.device | None = None,
) -> Results:
    """Every metric with every imputer for the maps of every method, on the model's device (else the images')."""
    device = device or images.device
    ask, battery = Asker(model, chunk, device), Battery(metrics, imputers, mean, image_ids, key)
    rows = ask.chunk.rows
    base = ask(images)  # (n, k)
    image_of = torch.cat([torch.as_tensor(stored.image_of, dtype=torch.long) for stored in maps.values()]).to(device)
    target = torch.cat([torch.as_tensor(stored.target, dtype=torch.long) for stored in maps.values()]).to(device)
    blocks, usable = [], 0
    for block, (unit, degenerate, broken) in _evaluated(maps, images, rows, device):
        fit = ~(degenerate | broken)
        asked = Asked(unit[fit], image_of[block][fit], target[block][fit], images, base)
        usable += len(asked.unit)
        values = _values(ask, battery, asked) if len(asked.unit) else {pair: Values(()) for pair in battery.pairs}
        flags = degenerate.cpu().numpy(), broken.cpu().numpy()
        blocks.append({pair: settle(_to_numpy(value), *flags) for pair, value in values.items()})
    whole = {pair: join([block[pair] for block in blocks]) for pair in battery.pairs}
    planned = len(images) + usable * len(imputers) * sum(module.METRIC.forwards for module, _ in metrics.values())
    of = {name: {pair: whole[pair].rows(place) for pair in whole} for name, place in _places(maps)}
    return Results(of, planned, ask.done)


def _places(maps: Mapping[Any, Stored]) -> Iterator[tuple[Any, slice]]:
    """Where each method's maps lie when all are laid end to end."""
    ends = list(accumulate(len(stored.raw) for stored in maps.values()))
    for name, start, end in zip(maps, [0, *ends[:-1]], ends, strict=True):
        yield name, slice(start, end)


def _evaluated(
    maps: Mapping[Any, Stored], images: Tensor, rows: int, device: torch.device
) -> Iterator[tuple[slice, Evaluated]]:
    """Evaluated maps, block by block across the methods."""
    places, size = list(_places(maps)), (images.shape[-2], images.shape[-1])
    total = max((place.stop for _, place in places), default=0)
    for block in (slice(start, min(start + rows, total)) for start in range(0, total, rows)):
        parts = []
        for name, place in places:
            first, last = max(block.start, place.start), min(block.stop, place.stop)
            if first < last:
                raw = torch.as_tensor(maps[name].raw[first - place.start : last - place.start]).to(device)
                parts.append(evaluate(raw, grid=maps[name].grid, signed=maps[name].signed, size=size))
        yield block, Evaluated(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _values(ask: Asker, battery: Battery, asked: Asked) -> dict[tuple[str, str], Values]:
    """The scores of one block of maps."""
    changes = _distinct(battery.metrics, Maps(asked.unit))
    before, after = _scores(asked.base[asked.image_of], asked.target), _answers(ask, battery, asked, changes)
    return {
        (metric, imputer): module.score(before, {name: after[imputer, name] for name in changes}, **options)
        for metric, (module, options) in battery.metrics.items()
        for imputer in battery.imputers
    }


def _distinct(metrics: Chosen, maps: Maps) -> dict[str, Tensor]:
    """Change name -> keep mask, over all metrics."""
    found: dict[str, Tensor] = {}
    for label, (module, options) in metrics.items():
        for change in module.changes(maps, **options):
            known = found.setdefault(change.name, change.keep)
            if known is not change.keep and not torch.equal(known, change.keep):
                raise StudyInvalid(
                    found=f'the metric {label} asks for another change under the name "{change.name}" than one before it.',
                    why="What metrics ask for under one name is made once, so it must be the same masks.",
                    then="Put the two into different batteries, or let the change's name carry the option that differs.",
                )
    return found


def _answers(
    ask: Asker, battery: Battery, asked: Asked, changes: Mapping[str, Tensor]
) -> dict[tuple[str, str], Scores]:
    """The model's answers per (imputer, change); several of them share a forward where the block is small."""
    x = asked.images[asked.image_of.to(asked.images.device)].to(ask.device)  # (u, c, h, w)
    ids = [battery.image_ids[row] for row in asked.image_of.tolist()] if battery.image_ids else []
    after: dict[tuple[str, str], Scores] = {}
    pairs = [(imputer, name) for imputer in battery.imputers for name in changes]
    together = max(1, ask.chunk.rows // len(x))
    for some in (pairs[start : start + together] for start in range(0, len(pairs), together)):
        changed = []
        for imputer, name in some:
            module, options = battery.imputers[imputer]
            keep = changes[name].to(x.dtype)
            fill = module.fill(x, Context(keep, battery.mean, ids, battery.key), **options)
            changed.append(torch.lerp(fill, x, keep.unsqueeze(1)))
        logits = torch.split(ask(torch.cat(changed)), len(x))
        after |= {pair: _scores(part, asked.target) for pair, part in zip(some, logits, strict=True)}
    return after


def _scores(logits: Tensor, target: Tensor) -> Scores:
    of_target = target.unsqueeze(1)
    return Scores(logits.gather(1, of_target).squeeze(1), logits.softmax(dim=1).gather(1, of_target).squeeze(1))


def _to_numpy(values: Values) -> Values:
    undefined = values.undefined
    value = values.value.cpu().numpy() if isinstance(values.value, Tensor) else values.value
    return Values(value, undefined.cpu().numpy() if isinstance(undefined, Tensor) else undefined, values.reason)
