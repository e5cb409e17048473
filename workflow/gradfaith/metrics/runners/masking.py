"""Runs a battery of faithfulness metrics: asks the model about changed images, each distinct one once.

    changed = x * keep + fill * (1 - keep)            one per (map, imputer, change)

The maps of all methods are laid end to end and taken `chunk` at a time, so that batches are full across images, methods, changes
and imputers. Changes of one name must be the same masks: what several metrics ask for under a name is built and run once;
pixels removed in the map's order are one sort for all shares. The model's answers to the unchanged images are computed once
per image. Constant and broken maps cost no forward.

With chunk "auto" the batch starts large and is halved, for good, whenever memory runs out. The numbers do not depend on
the chunk, up to the rounding of the model itself. Cost: images + usable maps x distinct changes x imputers, in forwards.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradfaith.metrics.contract import (
    NONE,
    Chosen,
    Maps,
    Model,
    Removal,
    Result,
    Scores,
    Step,
    Stored,
    Values,
    join,
    settle,
)
from gradfaith.metrics.maps.evaluate import Evaluated, evaluate
from gradfaith.metrics.maps.removals import kept, ranks
from gradfaith.metrics.runners.masking_block import Asked, Asker, Battery, Block, Known, one_mask
from gradfaith.runtime.batching import Most

Point = tuple[str, str, float]  # imputer, order, share removed


@dataclass(frozen=True)
class Results:
    """Per method and (metric, imputer) a result; forwards that the metrics asked for one by one, and those that were run."""

    of: Mapping[Any, Mapping[tuple[str, str], Result]]
    curves: Mapping[Any, Mapping[Point, NDArray[np.float64]]]  # the class's probability, NaN where the map is unusable
    planned: int
    done: int


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
    regions: Tensor | None = None,  # (n, h, w), for regional metrics
) -> Results:
    """Every metric with every imputer for the maps of every method, on the model's device (else the images')."""
    device = device or images.device
    ask, battery = Asker(model, chunk, device), Battery(metrics, imputers, mean, image_ids, key)
    rows = ask.chunk.rows
    base = ask(images)  # (n, k)
    image_of = torch.cat([torch.as_tensor(stored.image_of, dtype=torch.long) for stored in maps.values()]).to(device)
    target = torch.cat([torch.as_tensor(stored.target, dtype=torch.long) for stored in maps.values()]).to(device)
    blocks, curves, planned = [], list[dict[Point, NDArray[np.float64]]](), len(images)
    known: Known = {}
    others = _rivals(maps, images, rows, device) if _has_rivals(metrics) else repeat(None)
    for (block, (unit, degenerate, broken)), other in zip(_evaluated(maps, images, rows, device), others, strict=False):
        fit = ~(degenerate | broken)
        own = image_of[block][fit]
        pixels = images[own.to(images.device)].to(device)
        there = None if regions is None else regions[own.to(regions.device)].to(device)
        rival = None if other is None else Asked(other.unit[fit], other.target[fit])
        some = Block(unit[fit], own, target[block][fit], pixels, base[own], battery, known, there, rival)
        values, points, asked = _values(ask, battery, some) if len(own) else ({}, {}, 0)
        flags = degenerate.cpu().numpy(), broken.cpu().numpy()
        blocks.append({pair: settle(to_numpy(values.get(pair, Values(()))), *flags) for pair in battery.pairs})
        curves.append({point: _placed(found, ~(flags[0] | flags[1])) for point, found in points.items()})
        planned += asked
    whole = {pair: join([block[pair] for block in blocks]) for pair in battery.pairs}
    of = {name: {pair: whole[pair].rows(place) for pair in whole} for name, place in _places(maps)}
    return Results(
        of, _curves(curves, maps, [len(next(iter(block.values())).value) for block in blocks]), planned, ask.done
    )


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


def _has_rivals(metrics: Chosen) -> bool:
    return any(module.METRIC.rival for module, _ in metrics.values())


def _rivals(maps: Mapping[Any, Stored], images: Tensor, rows: int, device: torch.device) -> Iterator[Asked]:
    """Of every block the maps of the other class; none where the class, or its map, is missing."""
    others = {name: replace(stored, raw=stored.rival) for name, stored in maps.items()}
    against = torch.cat([torch.as_tensor(stored.against, dtype=torch.long) for stored in maps.values()]).to(device)
    for block, found in _evaluated(others, images, rows, device):
        yield Asked(found.unit, against[block])


def _values(ask: Asker, battery: Battery, block: Block) -> tuple[dict[tuple[str, str], Values], dict[Point, Any], int]:
    """The scores of one block of maps, the points of its curves, and the forwards its metrics asked for one by one."""
    maps = Maps(block.unit, block.draw, block.regions)
    wanted = {label: list(module.changes(maps, **options)) for label, (module, options) in battery.metrics.items()}
    steps = _distinct(wanted)
    before, after = block.scores(block.base), _answers(ask, battery, block, steps)
    after |= {(imputer, NONE): before for imputer in battery.imputers}
    values = {
        (metric, imputer): module.score(
            before, {step.name: after[imputer, step.name] for step in wanted[metric]}, **options
        )
        for metric, (module, options) in battery.metrics.items()
        for imputer in battery.imputers
    }
    removals = {step for steps in wanted.values() for step in steps if isinstance(step, Removal)}
    points: dict[Point, Any] = {
        (imputer, step.order, step.share): after[imputer, step.name].probability
        for imputer in battery.imputers
        for step in removals
    }
    named = sum(len({step.name for step in asked} - {NONE}) for asked in wanted.values())
    return values, points, named * len(battery.imputers) * len(block.unit)


def _distinct(wanted: Mapping[str, Sequence[Step]]) -> dict[str, list[Step]]:
    """By name, the steps that are to be one and the same."""
    found: dict[str, list[Step]] = {}
    for steps in wanted.values():
        for step in steps:
            found.setdefault(step.name, []).append(step)
    found.pop(NONE, None)
    return found


def _answers(
    ask: Asker, battery: Battery, block: Block, steps: Mapping[str, Sequence[Step]]
) -> dict[tuple[str, str], Scores]:
    """The model's answers per (imputer, change); several of them share a forward where the block is small."""
    ranked = any(isinstance(step, Removal) for named in steps.values() for step in named)
    rank = ranks(block.unit, block.draw("ties")) if ranked else None
    after: dict[tuple[str, str], Scores] = {}
    together = max(1, ask.chunk.rows // len(block.unit))
    pairs = [(name, imputer) for name in steps for imputer in battery.imputers]
    for some in (pairs[start : start + together] for start in range(0, len(pairs), together)):
        keeps = {name: _keep(steps[name], rank) for name in dict.fromkeys(name for name, _ in some)}
        waiting: list[tuple[str, str, Any, Tensor]] = []
        for name, imputer in some:
            rows = block.unknown(imputer, name) if steps[name][0].of_image else slice(None)
            waiting.append((name, imputer, rows, block.changed(imputer, name, keeps[name], rows)))
        logits = torch.split(ask(torch.cat([changed for *_, changed in waiting])), [len(w[-1]) for w in waiting])
        for (name, imputer, rows, _), found in zip(waiting, logits, strict=True):
            whole = block.remembered(imputer, name, rows, found) if steps[name][0].of_image else found
            after[imputer, name] = block.scores(whole, keeps[name])
    return after


def _keep(steps: Sequence[Step], rank: Tensor | None) -> Tensor:  # (u, h, w)
    """The one mask that all metrics mean by a name."""
    masks = []
    for step in dict.fromkeys(steps):
        if isinstance(step, Removal):
            assert rank is not None
            masks.append(kept(rank, step))
        else:
            masks.append(step.keep())
    return one_mask(steps[0].name, masks)


def _placed(found: Tensor, usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    whole = np.full(len(usable), np.nan)
    whole[usable] = found.cpu().numpy()
    return whole


def _curves(
    blocks: Sequence[Mapping[Point, NDArray[np.float64]]], maps: Mapping[Any, Stored], sizes: Sequence[int]
) -> dict[Any, dict[Point, NDArray[np.float64]]]:
    """Every point of the curves, method by method."""
    points = dict.fromkeys(point for block in blocks for point in block)
    nothing = [np.full(size, np.nan) for size in sizes]
    whole = {
        point: np.concatenate([block.get(point, blank) for block, blank in zip(blocks, nothing, strict=True)])
        for point in points
    }
    return {name: {point: whole[point][place] for point in points} for name, place in _places(maps)}


def to_numpy(values: Values) -> Values:
    """The same, for the rows of a table."""
    undefined = values.undefined
    value = values.value.cpu().numpy() if isinstance(values.value, Tensor) else values.value
    return Values(value, undefined.cpu().numpy() if isinstance(undefined, Tensor) else undefined, values.reason)
