"""Run a masking or ranking battery: score maps by the model's output on changed images, each distinct image
run once.

    changed = x * keep + fill * (1 - keep)            one per (map, imputer, change)

Images are taken `chunk` at a time. The maps of all methods of a chunk are laid end to end and taken `chunk` at a
time, too, so that batches are full across images, methods, changes and imputers. Images and maps are read when
their turn comes, so memory grows neither with their number nor with that of the methods. Changes of one name
must be the same masks: they are built and run once for all metrics that use the name. Pixels removed in the
map's order need one sort for all shares. The model's logits of the unchanged images are computed once per image.
Constant and broken maps cost no forward pass. Every method has a map of every row, all in one order.

With chunk "auto" the batch starts large and is halved, for good, whenever memory runs out. The numbers do not
depend on the chunk, up to the rounding of the model itself. Cost: images + usable maps x distinct changes x
imputers, in forwards.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
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
from gradfaith.metrics.maps.removals import keep_mask, rank_pixels
from gradfaith.metrics.runners.masking_block import (
    BatchedModel,
    BatterySetup,
    ImageChunk,
    MapBlock,
    MetricImputer,
    TensorRows,
    require_one_mask,
)
from gradfaith.runtime.device import BatchLimit


class CurvePoint(NamedTuple):
    """One point of a removal curve."""

    imputer: str
    order: str  # "most" or "least" relevant first
    share: float  # of the pixels removed


PointValues = Mapping[CurvePoint, NDArray[np.float64]]  # the class's probability per map, NaN where the map is unusable


@dataclass(frozen=True)
class BatteryResults:
    """The results of some maps of every method, and how many passes sharing has saved.

    A pass is a forward of one image; in the battery "rerun" it is an image that the methods explain again.
    """

    rows: NDArray[np.int64]  # (m,) of a method's maps
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


def run_in_chunks(
    model: ImagesToLogits,
    images: TensorRows,  # (n, c, h, w) in [0, 1]
    maps: Mapping[Any, MethodMaps],
    metrics: BoundPlugins,
    imputers: BoundPlugins,
    *,
    device: torch.device,
    mean: Tensor | None = None,  # (c,) of the training images
    image_ids: Sequence[str] = (),
    key: tuple[object, ...] = (),
    chunk: BatchLimit = "auto",
    regions: TensorRows | None = None,  # (n, h, w), for regional metrics
) -> Iterator[BatteryResults]:
    """Compute every metric with every imputer for the maps of every method; yield the results of each chunk of images."""
    batched, battery = BatchedModel(model, chunk, device), BatterySetup(metrics, imputers, mean, image_ids, key)
    image_of = torch.as_tensor(next(iter(maps.values())).image_of, dtype=torch.long).cpu()
    start = 0
    while start < len(images):
        some = slice(start, min(start + batched.chunk.rows, len(images)))
        rows = ((image_of >= some.start) & (image_of < some.stop)).nonzero()[:, 0]
        run_before, pixels = batched.images_run, images[some].to(device)
        numbers = None if regions is None else regions[some].to(device)
        here = ImageChunk(rows.numpy(), image_of[rows].to(device), start, pixels, batched(pixels), numbers)
        found = _score_chunk(batched, here, maps, battery)
        yield replace(found, passes_run=batched.images_run - run_before)
        start = some.stop


def run_battery(
    model: ImagesToLogits, images: Tensor, maps: Mapping[Any, MethodMaps], metrics: BoundPlugins, imputers: BoundPlugins,
    **how: Any,
) -> BatteryResults:  # fmt: skip
    """Return the joined results of `run_in_chunks`, of images in memory and on their device; `how`: its other arguments."""
    chunks = run_in_chunks(model, images, maps, metrics, imputers, device=images.device, **how)
    none = no_results(maps, product(metrics, imputers))
    return join_results([none, *chunks])


def no_results(methods: Iterable[Any], pairs: Iterable[MetricImputer]) -> BatteryResults:
    """Return the results of no map."""
    nothing = dict.fromkeys(pairs, concatenate_results([]))
    return BatteryResults(np.zeros(0, dtype=np.int64), dict.fromkeys(methods, nothing), {n: {} for n in methods}, 0, 0)


def _score_chunk(
    batched: BatchedModel, chunk: ImageChunk, maps: Mapping[Any, MethodMaps], battery: BatterySetup
) -> BatteryResults:
    """Score the maps of some images, block by block across the methods."""
    blocks, curves, sizes, passes_requested = [], list[PointValues](), [], len(chunk.images)
    for block, flags in chunk.blocks(maps, battery, batched.chunk.rows):
        found = _score_block(batched, block) if len(block.unit) else _BlockResults({}, {}, 0)
        values = {pair: to_numpy(found.values.get(pair, Values(()))) for pair in battery.pairs}
        blocks.append({pair: assign_status(values[pair], *flags) for pair in battery.pairs})
        curves.append({point: _spread(part, ~(flags[0] | flags[1])) for point, part in found.points.items()})
        sizes.append(len(flags[0]))
        passes_requested += found.passes_requested
    joined = {pair: concatenate_results([block[pair] for block in blocks]) for pair in battery.pairs}
    points, count = join_points(curves, sizes), len(chunk.rows)
    places = {name: slice(place * count, (place + 1) * count) for place, name in enumerate(maps)}
    by_method = {name: {pair: joined[pair].select(place) for pair in joined} for name, place in places.items()}
    by_point = {name: {point: points[point][place] for point in points} for name, place in places.items()}
    return BatteryResults(chunk.rows, by_method, by_point, passes_requested, 0)


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
    ranked = (change for changes in wanted.values() for change in changes if isinstance(change, RankedRemoval))
    removals = dict.fromkeys(ranked)  # in one order: a set of texts has another in every process
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


def join_points(parts: Sequence[PointValues], sizes: Sequence[int]) -> dict[CurvePoint, NDArray[np.float64]]:
    """Join curve points; NaN where a part has none. `sizes`: maps per part."""
    points = dict.fromkeys(point for part in parts for point in part)
    blanks = [np.full(size, np.nan) for size in sizes]
    return {
        point: np.concatenate([part.get(point, blank) for part, blank in zip(parts, blanks, strict=True)])
        for point in points
    }


def join_results(parts: Sequence[BatteryResults]) -> BatteryResults:
    """Join the results of different maps, in the order of the maps."""
    rows = np.concatenate([part.rows for part in parts])
    order, sizes, first = np.argsort(rows), [len(part.rows) for part in parts], parts[0]
    by_method = {
        name: {pair: concatenate_results([part.by_method[name][pair] for part in parts]).select(order) for pair in own}
        for name, own in first.by_method.items()
    }
    points = {name: join_points([part.curves[name] for part in parts], sizes) for name in first.curves}
    curves = {name: {point: values[order] for point, values in own.items()} for name, own in points.items()}
    requested, run = (sum(getattr(part, name) for part in parts) for name in ("passes_requested", "passes_run"))
    return BatteryResults(rows[order], by_method, curves, requested, run)


def join_chunks(chunks: Iterable[BatteryResults], rows: int) -> Iterator[BatteryResults]:
    """Yield the same results for at least so many rows at a time."""
    waiting = list[BatteryResults]()
    for chunk in chunks:
        waiting.append(chunk)
        if sum(len(part.rows) for part in waiting) >= rows:
            yield join_results(waiting)
            waiting.clear()
    if waiting:
        yield join_results(waiting)


def to_numpy(values: Values) -> Values:
    """Return the same values as numpy arrays."""
    undefined = values.undefined
    value = values.value.cpu().numpy() if isinstance(values.value, Tensor) else values.value
    return Values(value, undefined.cpu().numpy() if isinstance(undefined, Tensor) else undefined, values.reason)
