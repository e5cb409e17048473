"""Run a masking or ranking battery: score maps by the model's output on changed images, each distinct image
run once.

    changed = x * keep + fill * (1 - keep)            one per (map, imputer, change)

The maps of all methods are laid end to end and taken `chunk` at a time, so that batches are full across
images, methods, changes and imputers. Changes of one name must be the same masks: they are built and run once
for all metrics that use the name. Pixels removed in the map's order need one sort for all shares. The model's
logits of the unchanged images are computed once per image. Constant and broken maps cost no forward pass.

With chunk "auto" the batch starts large and is halved, for good, whenever memory runs out. The numbers do not
depend on the chunk, up to the rounding of the model itself. Cost: images + usable maps x distinct changes x
imputers, in forwards.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradfaith.metrics.contract import (
    NOTHING_REMOVED,
    BatteryMaps,
    BoundPlugins,
    ImageChange,
    ImagesToLogits,
    MethodMaps,
    RankedRemoval,
    Result,
    Scores,
    Values,
    assign_status,
    concatenate_results,
)
from gradfaith.metrics.maps.evaluate import Evaluated, evaluate
from gradfaith.metrics.maps.removals import keep_mask, rank_pixels
from gradfaith.metrics.runners.masking_block import (
    BatchedModel,
    BatterySetup,
    LogitCache,
    MapBlock,
    MetricImputer,
    TargetedMaps,
    require_one_mask,
)
from gradfaith.runtime.device import BatchLimit


class CurvePoint(NamedTuple):
    """One point of a removal curve."""

    imputer: str
    order: str  # "most" or "least" relevant first
    share: float  # of the pixels removed


PointValues = dict[CurvePoint, NDArray[np.float64]]  # the class's probability per map, NaN where the map is unusable


@dataclass(frozen=True)
class BatteryResults:
    """The results of a battery, and how many passes sharing has saved.

    A pass is a forward of one image; in the battery "rerun" it is an image that the methods explain again.
    """

    by_method: Mapping[Any, Mapping[MetricImputer, Result]]
    curves: Mapping[Any, Mapping[CurvePoint, NDArray[np.float64]]]  # by method
    passes_requested: int  # if every metric ran its own
    passes_run: int


@dataclass(frozen=True)
class _BlockResults:
    """The scores of one block of maps."""

    values: Mapping[MetricImputer, Values]
    points: Mapping[CurvePoint, Tensor]  # (u,) probability of the class
    passes_requested: int


def run_battery(
    model: ImagesToLogits,
    images: Tensor,  # (n, c, h, w) in [0, 1]
    maps: Mapping[Any, MethodMaps],
    metrics: BoundPlugins,
    imputers: BoundPlugins,
    *,
    mean: Tensor | None = None,  # (c,) of the training images
    image_ids: Sequence[str] = (),
    key: tuple[object, ...] = (),
    chunk: BatchLimit = "auto",
    device: torch.device | None = None,
    regions: Tensor | None = None,  # (n, h, w), for regional metrics
) -> BatteryResults:
    """Compute every metric with every imputer for the maps of every method, on `device` (default: that of the images)."""
    device = device or images.device
    batched, battery = BatchedModel(model, chunk, device), BatterySetup(metrics, imputers, mean, image_ids, key)
    rows = batched.chunk.rows
    base_logits = batched(images)  # (n, k)
    blocks, curves, passes_requested = [], list[PointValues](), len(images)
    for block, flags in _map_blocks(maps, images, base_logits, battery, rows, device, regions):
        found = _score_block(batched, block) if len(block.unit) else _BlockResults({}, {}, 0)
        values = {pair: to_numpy(found.values.get(pair, Values(()))) for pair in battery.pairs}
        blocks.append({pair: assign_status(values[pair], *flags) for pair in battery.pairs})
        curves.append({point: _spread(part, ~(flags[0] | flags[1])) for point, part in found.points.items()})
        passes_requested += found.passes_requested
    joined = {pair: concatenate_results([block[pair] for block in blocks]) for pair in battery.pairs}
    by_method = {name: {pair: joined[pair].select(place) for pair in joined} for name, place in _places(maps)}
    sizes = [len(next(iter(block.values())).value) for block in blocks]
    return BatteryResults(by_method, _curves_by_method(curves, maps, sizes), passes_requested, batched.images_run)


Flags = tuple[NDArray[np.bool_], NDArray[np.bool_]]  # degenerate (m,), broken (m,)


def _map_blocks(
    maps: Mapping[Any, MethodMaps], images: Tensor, base_logits: Tensor, battery: BatterySetup, rows: int,
    device: torch.device, regions: Tensor | None,
) -> Iterator[tuple[MapBlock, Flags]]:  # fmt: skip
    """Yield the usable maps in blocks of at most `rows` across the methods, and which maps of each block are not usable."""
    image_of = torch.cat([torch.as_tensor(one.image_of, dtype=torch.long) for one in maps.values()]).to(device)
    target = torch.cat([torch.as_tensor(one.target, dtype=torch.long) for one in maps.values()]).to(device)
    cache: LogitCache = {}
    rivals = _rivals(maps, images, rows, device) if _has_rivals(battery.metrics) else repeat(None)
    for (place, evaluated), rival in zip(_evaluate_blocks(maps, images, rows, device), rivals, strict=False):
        unit, degenerate, broken = evaluated
        usable = ~(degenerate | broken)
        row = image_of[place][usable]
        block = MapBlock(
            unit=unit[usable],
            image_of=row,
            target=target[place][usable],
            images=images[row.to(images.device)].to(device),
            base_logits=base_logits[row],
            battery=battery,
            logit_cache=cache,
            regions=None if regions is None else regions[row.to(regions.device)].to(device),
            rival=None if rival is None else TargetedMaps(rival.unit[usable], rival.target[usable]),
        )
        yield block, (degenerate.cpu().numpy(), broken.cpu().numpy())


def _places(maps: Mapping[Any, MethodMaps]) -> Iterator[tuple[Any, slice]]:
    """Yield where each method's maps lie when all are laid end to end."""
    ends = list(accumulate(len(stored.raw) for stored in maps.values()))
    for name, start, end in zip(maps, [0, *ends[:-1]], ends, strict=True):
        yield name, slice(start, end)


def _evaluate_blocks(
    maps: Mapping[Any, MethodMaps], images: Tensor, rows: int, device: torch.device
) -> Iterator[tuple[slice, Evaluated]]:
    """Yield evaluated maps, block by block across the methods."""
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


def _has_rivals(metrics: BoundPlugins) -> bool:
    return any(module.METRIC.rival for module, _ in metrics.values())


def _rivals(maps: Mapping[Any, MethodMaps], images: Tensor, rows: int, device: torch.device) -> Iterator[TargetedMaps]:
    """Yield for every block the maps of the other class; zeros where the class, or its map, is missing."""
    rivals = {name: replace(one, raw=one.rival) for name, one in maps.items()}
    against = torch.cat([torch.as_tensor(one.against, dtype=torch.long) for one in maps.values()]).to(device)
    for block, evaluated in _evaluate_blocks(rivals, images, rows, device):
        yield TargetedMaps(evaluated.unit, against[block])


def _score_block(model: BatchedModel, block: MapBlock) -> _BlockResults:
    """Score one block of maps with every metric and imputer."""
    battery = block.battery
    maps = BatteryMaps(block.unit, block.draw, block.regions)
    wanted = {label: list(module.changes(maps, **options)) for label, (module, options) in battery.metrics.items()}
    before, after = block.scores(block.base_logits), _run_changes(model, block, _changes_by_name(wanted))
    after |= {(imputer, NOTHING_REMOVED): before for imputer in battery.imputers}
    values = {
        (metric, imputer): module.score(
            before, {change.name: after[imputer, change.name] for change in wanted[metric]}, **options
        )
        for metric, (module, options) in battery.metrics.items()
        for imputer in battery.imputers
    }
    removals = {change for changes in wanted.values() for change in changes if isinstance(change, RankedRemoval)}
    points: dict[CurvePoint, Tensor] = {
        CurvePoint(imputer, change.order, change.share): after[imputer, change.name].probability
        for imputer in battery.imputers
        for change in removals
    }
    distinct = sum(len({change.name for change in changes} - {NOTHING_REMOVED}) for changes in wanted.values())
    return _BlockResults(values, points, distinct * len(battery.imputers) * len(block.unit))


def _changes_by_name(wanted: Mapping[str, Sequence[ImageChange]]) -> dict[str, list[ImageChange]]:
    """Group the changes that metrics want by name: those of one name must be one and the same."""
    by_name: dict[str, list[ImageChange]] = {}
    for changes in wanted.values():
        for change in changes:
            by_name.setdefault(change.name, []).append(change)
    by_name.pop(NOTHING_REMOVED, None)
    return by_name


def _run_changes(
    model: BatchedModel, block: MapBlock, changes: Mapping[str, Sequence[ImageChange]]
) -> dict[tuple[str, str], Scores]:
    """Return the scores per (imputer, change); several changes share a forward where the block is small."""
    needs_order = any(isinstance(change, RankedRemoval) for same in changes.values() for change in same)
    rank = rank_pixels(block.unit, block.draw("ties")) if needs_order else None
    after: dict[tuple[str, str], Scores] = {}
    per_forward = max(1, model.chunk.rows // len(block.unit))
    pairs = [(name, imputer) for name in changes for imputer in block.battery.imputers]
    for some in (pairs[start : start + per_forward] for start in range(0, len(pairs), per_forward)):
        keeps = {name: _keep(changes[name], rank) for name in dict.fromkeys(name for name, _ in some)}
        pending: list[_PendingImages] = []
        for name, imputer in some:
            rows = block.rows_not_cached(imputer, name) if changes[name][0].per_image else slice(None)
            pending.append(_PendingImages(name, imputer, rows, block.apply_change(imputer, name, keeps[name], rows)))
        stacked = torch.cat([one.images for one in pending])
        logits = torch.split(model(stacked), [len(one.images) for one in pending])
        for (name, imputer, rows, _), found in zip(pending, logits, strict=True):
            every = block.cache_logits(imputer, name, rows, found) if changes[name][0].per_image else found
            after[imputer, name] = block.scores(every, keeps[name])
    return after


class _PendingImages(NamedTuple):
    """Changed images that wait for the next forward."""

    change: str
    imputer: str
    rows: Any  # of the block: a tensor, or a slice for all
    images: Tensor


def _keep(changes: Sequence[ImageChange], rank: Tensor | None) -> Tensor:  # (u, h, w)
    """Return the mask of changes of one name."""
    masks = []
    for change in dict.fromkeys(changes):
        if isinstance(change, RankedRemoval):
            assert rank is not None
            masks.append(keep_mask(rank, change))
        else:
            masks.append(change.keep())
    return require_one_mask(changes[0].name, masks)


def _spread(values: Tensor, usable: NDArray[np.bool_]) -> NDArray[np.float64]:  # (u,), (m,) -> (m,)
    """Put the values of the usable maps in their rows, NaN elsewhere."""
    every = np.full(len(usable), np.nan)
    every[usable] = values.cpu().numpy()
    return every


def _curves_by_method(
    blocks: Sequence[PointValues], maps: Mapping[Any, MethodMaps], sizes: Sequence[int]
) -> dict[Any, PointValues]:
    """Join the blocks' curve points, and divide them by method; `sizes`: maps per block."""
    points = dict.fromkeys(point for block in blocks for point in block)
    blanks = [np.full(size, np.nan) for size in sizes]
    joined = {
        point: np.concatenate([block.get(point, blank) for block, blank in zip(blocks, blanks, strict=True)])
        for point in points
    }
    return {name: {point: joined[point][place] for point in points} for name, place in _places(maps)}


def to_numpy(values: Values) -> Values:
    """Return the same values as numpy arrays."""
    undefined = values.undefined
    value = values.value.cpu().numpy() if isinstance(values.value, Tensor) else values.value
    return Values(value, undefined.cpu().numpy() if isinstance(undefined, Tensor) else undefined, values.reason)
