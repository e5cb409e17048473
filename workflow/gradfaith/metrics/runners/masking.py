"""Run a masking or ranking battery: score maps by the model's output on modified images, each distinct image once.

    changed = x * keep + fill * (1 - keep)            one per (map, imputer, change)

Images are processed in chunks, as many as have about a batch of maps of all methods together. So all maps of an image are
in one chunk, its random numbers are drawn once, and a modified image that several maps, metrics or shares request runs
once (distinct_images.py). The maps, one method after the other, are read and built in blocks of a batch. Images and maps
are read when needed, so memory grows neither with their number nor with the number of methods. Batches are filled across
images, methods, changes and imputers. Changes with one name must be the same masks. Pixels removed in the map's order
need one sort for all shares. Constant and broken maps cost no forward pass. Every method has a map for every row, all in
one order.

With chunk "auto" the batch starts large and is permanently halved whenever memory runs out. The numbers do not depend
on the chunk, up to the rounding of the model itself. Cost: images + usable maps x distinct changes x imputers, in
forwards, minus the forwards that maps share.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradfaith.metrics.contract import (
    NOTHING_REMOVED,
    BoundPlugins,
    ImagesToLogits,
    MethodMaps,
    RankedRemoval,
    Result,
    Values,
    assign_status,
    concatenate_results,
)
from gradfaith.metrics.maps.renders import RenderRows
from gradfaith.metrics.runners.distinct_images import AskedBlock, BlockRequest, DistinctForwards, Fingerprints
from gradfaith.metrics.runners.masking_block import BatchedModel, BatterySetup, ImageChunk, MetricImputer, TensorRows
from gradfaith.runtime.device import BatchLimit

NO_IMPUTER: BoundPlugins = {"": (ModuleType("none"), {})}  # battery "rendered": the images are the dataset's own


class CurvePoint(NamedTuple):
    """One point of a removal curve."""

    imputer: str
    order: str  # "most" or "least" relevant first
    share: float  # of the pixels removed


PointValues = Mapping[CurvePoint, NDArray[np.float64]]  # the class's probability per map, NaN where the map is unusable


@dataclass(frozen=True)
class BatteryResults:
    """The results of some maps of every method, and the number of passes that sharing has saved.

    A pass is a forward of one image; in the battery "rerun", an image that the methods explain again.
    """

    rows: NDArray[np.int64]  # (m,) of a method's maps
    by_method: Mapping[Any, Mapping[MetricImputer, Result]]
    curves: Mapping[Any, Mapping[CurvePoint, NDArray[np.float64]]]  # by method
    passes_requested: int  # passes without any sharing
    passes_run: int


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
    temperature: float = 1.0,  # of the model's calibrated probabilities
    renders: RenderRows | None = None,  # for the battery "rendered"
) -> Iterator[BatteryResults]:
    """Compute every metric with every imputer for the maps of every method; yield the results of each chunk of images."""
    batched = BatchedModel(model, chunk, device)
    battery = BatterySetup(metrics, imputers or NO_IMPUTER, mean, image_ids, key, temperature)
    image_of = torch.as_tensor(next(iter(maps.values())).image_of, dtype=torch.long).cpu()
    per_image = max(1.0, len(image_of) * len(maps) / max(1, len(images)))  # maps
    start, prints = 0, None
    while start < len(images):
        some = slice(start, min(start + max(1, int(batched.chunk.rows / per_image)), len(images)))
        rows = ((image_of >= some.start) & (image_of < some.stop)).nonzero()[:, 0]
        run_before, pixels = batched.images_run, images[some].to(device)
        numbers = None if regions is None else regions[some].to(device)
        without_parts = None if renders is None else renders[some]
        here = ImageChunk(rows.numpy(), image_of[rows].to(device), start, pixels, numbers, without_parts)
        prints = prints or Fingerprints(pixels.shape[-2:], device)
        found = _score_chunk(DistinctForwards(batched), prints, here, maps, battery)
        yield replace(found, passes_run=batched.images_run - run_before)
        start = some.stop


def run_battery(
    model: ImagesToLogits, images: Tensor, maps: Mapping[Any, MethodMaps], metrics: BoundPlugins, imputers: BoundPlugins,
    **how: Any,
) -> BatteryResults:  # fmt: skip
    """Return the joined results of `run_in_chunks`, for images in memory and on their device; `how`: its other arguments."""
    chunks = run_in_chunks(model, images, maps, metrics, imputers, device=images.device, **how)
    none = no_results(maps, product(metrics, imputers or NO_IMPUTER))
    return join_results([none, *chunks])


def no_results(methods: Iterable[Any], pairs: Iterable[MetricImputer]) -> BatteryResults:
    """Return empty results."""
    nothing = dict.fromkeys(pairs, concatenate_results([]))
    return BatteryResults(np.zeros(0, dtype=np.int64), dict.fromkeys(methods, nothing), {n: {} for n in methods}, 0, 0)


def _score_chunk(
    forwards: DistinctForwards, prints: Fingerprints, chunk: ImageChunk, maps: Mapping[Any, MethodMaps],
    battery: BatterySetup,
) -> BatteryResults:  # fmt: skip
    """Score the maps of some images: request all modified images block by block, run them, then score."""
    forwards.ask([(chunk.first + row,) for row in range(len(chunk.images))], chunk.images.__getitem__)
    asked = [
        (BlockRequest(forwards, prints, block).ask() if len(block.unit) else None, flags)
        for block, flags in chunk.blocks(maps, battery, forwards.model.chunk.rows)
    ]
    logits = forwards.logits()
    blocks, curves, sizes, passes_requested = [], list[PointValues](), [], len(chunk.images)
    for block, flags in asked:
        values, on_curves = _score_block(block, battery, logits) if block else ({}, {})
        numbers = {pair: to_numpy(values.get(pair, Values(()))) for pair in battery.pairs}
        blocks.append({pair: assign_status(numbers[pair], *flags) for pair in battery.pairs})
        curves.append({point: _spread(part, ~(flags[0] | flags[1])) for point, part in on_curves.items()})
        sizes.append(len(flags[0]))
        passes_requested += _passes_alone(block, battery) if block else 0
    joined = {pair: concatenate_results([block[pair] for block in blocks]) for pair in battery.pairs}
    points, count = join_points(curves, sizes), len(chunk.rows)
    places = {name: slice(place * count, (place + 1) * count) for place, name in enumerate(maps)}
    by_method = {name: {pair: joined[pair].select(place) for pair in joined} for name, place in places.items()}
    by_point = {name: {point: points[point][place] for point in points} for name, place in places.items()}
    return BatteryResults(chunk.rows, by_method, by_point, passes_requested, 0)


def _passes_alone(block: AskedBlock, battery: BatterySetup) -> int:
    """Count the forwards of a block without any sharing between metrics and maps."""
    changes = sum(len({change.name for change in changes} - {NOTHING_REMOVED}) for changes in block.wanted.values())
    return changes * len(battery.imputers) * len(block.classes.target)


def _score_block(
    block: AskedBlock, battery: BatterySetup, logits: Tensor
) -> tuple[dict[MetricImputer, Values], dict[CurvePoint, Tensor]]:
    """Score one block of maps with every metric and imputer; return the values, and the points of the curves."""
    before = block.classes.scores(logits[block.unchanged.logits], block.unchanged.removed)
    after = {
        pair: block.classes.scores(logits[asked.logits], asked.removed, asked.render)
        for pair, asked in block.changed.items()
    }
    after |= {(imputer, NOTHING_REMOVED): before for imputer in battery.imputers}
    values = {
        (metric, imputer): module.score(
            before, {change.name: after[imputer, change.name] for change in block.wanted[metric]}, **options
        )
        for metric, (module, options) in battery.metrics.items()
        for imputer in battery.imputers
    }
    ranked = (change for changes in block.wanted.values() for change in changes if isinstance(change, RankedRemoval))
    removals = dict.fromkeys(ranked)  # in a fixed order: a set of strings has another order in every process
    points = {
        CurvePoint(imputer, change.order, change.share): after[imputer, change.name].probability
        for imputer in battery.imputers
        for change in removals
    }
    return values, points


def _spread(values: Tensor, usable: NDArray[np.bool_]) -> NDArray[np.float64]:  # (u,), (m,) -> (m,)
    """Put the values of the usable maps in their rows, NaN elsewhere."""
    every = np.full(len(usable), np.nan)
    every[usable] = values.cpu().numpy()
    return every


def join_points(parts: Sequence[PointValues], sizes: Sequence[int]) -> dict[CurvePoint, NDArray[np.float64]]:
    """Join curve points; NaN if a part has none. `sizes`: maps per part."""
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
    """Yield the same results in chunks of at least `rows` rows."""
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
