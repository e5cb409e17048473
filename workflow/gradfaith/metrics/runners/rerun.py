"""Run a rerun battery: run the methods again on modified images or on another model, and score maps by the new maps.

    own change      x * keep + fill * (1 - keep)     each map modifies its own image: one rerun per map and imputer
    shared change   x + shift, or another model      the same for every method: one rerun per image

Each distinct rerun is made once for all metrics. Reruns of all methods, changes and imputers share a batch: the
explainer receives modified images, and the methods whose maps are requested of each. Images and maps are read in
blocks, so that memory holds only those of about one batch of reruns. Modified images are built with their batch.
Changes with one name must be the same masks, as in the masking runner. Every method has a map for every row, all in
one order.

Constant and broken maps are not run again. If the new map is not finite, the scores that read it are "failed"; each
metric defines its value for a constant new map. Cost, in reruns (a forward, a short backward, and the method's own
passes): usable maps x own changes x imputers, and images x shared changes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradfaith.metrics.contract import (
    BatteryMaps,
    BoundPlugins,
    ExplainFunction,
    MethodMaps,
    MethodRerun,
    RerunBatch,
    Result,
    Values,
    WeightState,
    assign_status,
)
from gradfaith.metrics.maps.evaluate import RerunMaps
from gradfaith.metrics.runners.masking import BatteryResults, PointValues, join_results, no_results, to_numpy
from gradfaith.metrics.runners.masking_block import (
    BatterySetup,
    MapBlock,
    MapClasses,
    MetricImputer,
    TensorRows,
    require_one_mask,
)
from gradfaith.runtime.device import AdaptiveBatch, BatchLimit

NO_FINITE_MAP = "the method gave no finite map when it was asked again"
WEIGHT_STATES: tuple[WeightState, ...] = get_args(WeightState)


class RerunKey(NamedTuple):
    """The key of one rerun of one method."""

    change: str
    imputer: str  # "": the change fills nothing
    method: Any


@dataclass(frozen=True)
class RerunGroup:
    """Images with one change, and the methods whose maps are requested of them."""

    change: str
    imputer: str
    methods: tuple[Any, ...]
    rows: Tensor  # (r,) in the block


@dataclass(frozen=True)
class RerunBlock:
    """Some images, each with a class, and every method's map of each."""

    images: Tensor  # (b, c, h, w)
    image_of: Tensor  # (b,) row of the image in the battery's
    target: Tensor  # (b,)
    maps: Mapping[Any, RerunMaps]  # by method
    battery: BatterySetup

    @cached_property
    def usable(self) -> Mapping[Any, Tensor]:  # method -> (u,) rows
        return {name: (~(maps.constant | maps.broken)).nonzero()[:, 0] for name, maps in self.maps.items()}

    def apply_change(self, group: RerunGroup) -> Tensor:  # (r, c, h, w)
        """Return the images of a group after its change."""
        images = self.images[group.rows]
        unit = self.maps[group.methods[0]].unit[group.rows] if group.imputer else torch.zeros_like(images[:, 0])
        block = MapBlock(unit, self.image_of[group.rows], MapClasses(self.target[group.rows]), images, self.battery)
        requested = chain(*requested_reruns(self.battery.metrics, block.maps).values())
        same = [rerun for rerun in requested if rerun.name == group.change]
        if group.imputer:
            keep = require_one_mask(group.change, [rerun.keep() for rerun in same if rerun.keep])
            return block.apply_change(group.imputer, group.change, keep, slice(None))
        shift = same[0].shift
        return images if shift is None else images + shift(images.shape[1])

    def batch(
        self, groups: Sequence[RerunGroup], model: WeightState
    ) -> tuple[RerunBatch, dict[Any, list[tuple[RerunKey, int]]]]:
        """Return the batch for an explainer, and by method its reruns, each with its number of maps."""
        wanted: dict[Any, list[Tensor]] = {}
        contents: dict[Any, list[tuple[RerunKey, int]]] = {}
        start = 0
        for group in groups:
            for name in group.methods:
                rows = torch.isin(group.rows, self.usable[name]).nonzero()[:, 0] + start
                if len(rows):
                    wanted.setdefault(name, []).append(rows)
                    contents.setdefault(name, []).append((RerunKey(group.change, group.imputer, name), len(rows)))
            start += len(group.rows)
        every = torch.cat([group.rows for group in groups])
        names, image_of = self.battery.image_ids, self.image_of[every].tolist()
        batch = RerunBatch(
            images=torch.cat([self.apply_change(group) for group in groups]),
            target=self.target[every],
            image_ids=[names[row] if names else str(row) for row in image_of],
            changes=[group.change for group in groups for _ in group.rows],
            wanted={name: torch.cat(parts) for name, parts in wanted.items()},
            model=model,
        )
        return batch, contents


def requested_reruns(metrics: BoundPlugins, maps: BatteryMaps | None = None) -> dict[str, list[MethodRerun]]:
    """Return the reruns that every metric requests for these maps; without maps, only their names and kinds are valid."""
    maps = maps or BatteryMaps(torch.zeros(0, 1, 1), lambda _purpose: torch.zeros(0, 1, 1))
    return {label: list(module.changes(maps, **options)) for label, (module, options) in metrics.items()}


def distinct_reruns(block: RerunBlock, model: WeightState) -> list[RerunGroup]:
    """Return all distinct reruns of a block on one model."""
    requested = chain(*requested_reruns(block.battery.metrics).values())
    distinct = {rerun.name: rerun for rerun in requested if rerun.model == model}
    usable_by_any = torch.unique(torch.cat(list(block.usable.values())))
    groups = []
    for rerun in distinct.values():
        if rerun.per_image:
            groups.append(RerunGroup(rerun.name, "", tuple(block.maps), usable_by_any))
        else:
            for name, rows in block.usable.items():
                groups += [RerunGroup(rerun.name, imputer, (name,), rows) for imputer in block.battery.imputers]
    return groups


def slice_groups(groups: Sequence[RerunGroup], some: slice) -> Iterator[RerunGroup]:
    """Yield the groups, restricted to a slice of their rows, counted across the groups."""
    start = 0
    for group in groups:
        first, last = max(some.start - start, 0), min(some.stop - start, len(group.rows))
        if first < last:
            yield replace(group, rows=group.rows[first:last])
        start += len(group.rows)


def run_in_chunks(
    explain: ExplainFunction,
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
) -> Iterator[BatteryResults]:
    """Compute every metric, with every imputer if it reads one, for the maps of every method; yield results block by block."""
    battery = BatterySetup(metrics, imputers, mean, image_ids, key)
    explainer, requested = BatchedExplainer(explain, AdaptiveBatch(chunk, device)), requested_reruns(metrics)
    distinct = {rerun.name: rerun for rerun in chain(*requested.values())}.values()
    own, shared = (sum(rerun.per_image is one for rerun in distinct) for one in (False, True))
    per_row = max(1, own * len(maps) * len(imputers), shared)  # reruns per row, or maps of one method
    per_map = sum(1 if rerun.per_image else len(imputers) for rerun in chain(*requested.values()))
    start, count = 0, max((len(one.raw) for one in maps.values()), default=0)
    while start < count:
        some = slice(start, min(start + max(1, explainer.chunk.rows // per_row), count))
        block, run_before = _block(images, maps, some, battery, device), explainer.images_run
        new_maps = explainer(block)
        by_method = {name: _score_method(block, name, new_maps) for name in maps}
        passes_requested = per_map * sum(len(usable) for usable in block.usable.values())
        rows, no_curves = np.arange(some.start, some.stop), dict[Any, PointValues]((name, {}) for name in maps)
        yield BatteryResults(rows, by_method, no_curves, passes_requested, explainer.images_run - run_before)
        start = some.stop


def run_battery(
    explain: ExplainFunction, images: Tensor, maps: Mapping[Any, MethodMaps], metrics: BoundPlugins, imputers: BoundPlugins,
    **how: Any,
) -> BatteryResults:  # fmt: skip
    """Return the joined results of `run_in_chunks`, for images in memory and on their device; `how`: its other arguments."""
    chunks = run_in_chunks(explain, images, maps, metrics, imputers, device=images.device, **how)
    return join_results([no_results(maps, _pairs(metrics, imputers)), *chunks])


@dataclass
class BatchedExplainer:
    """The explainer in batches that fit into memory; counts the images that it has explained again."""

    explain: ExplainFunction
    chunk: AdaptiveBatch
    images_run: int = 0

    def __call__(self, block: RerunBlock) -> dict[RerunKey, Tensor]:
        """Return the new maps of every rerun, in the order of the method's usable rows."""
        new_maps: dict[RerunKey, list[Tensor]] = {}
        for model in WEIGHT_STATES:
            groups = distinct_reruns(block, model)
            count = sum(len(group.rows) for group in groups)
            for _, part in self.chunk.process(count, self._work(block, groups, model)):
                for key, maps in part:
                    new_maps.setdefault(key, []).append(maps)
            self.images_run += count
        return {key: torch.cat(maps) for key, maps in new_maps.items()}

    def _work(
        self, block: RerunBlock, groups: Sequence[RerunGroup], model: WeightState
    ) -> Callable[[slice], list[tuple[RerunKey, Tensor]]]:
        def work(some: slice) -> list[tuple[RerunKey, Tensor]]:
            batch, contents = block.batch(list(slice_groups(groups, some)), model)
            maps = self.explain(batch)
            return [
                (key, part)
                for name, own in contents.items()
                for (key, _), part in zip(own, maps[name].split([count for _, count in own]), strict=True)
            ]

        return work


def _block(
    images: TensorRows, maps: Mapping[Any, MethodMaps], some: slice, battery: BatterySetup, device: torch.device
) -> RerunBlock:
    """Return some rows of every method's maps, on the device."""
    first = next(iter(maps.values()))
    image_of, target = (torch.as_tensor(column[some], dtype=torch.long) for column in (first.image_of, first.target))
    pixels = images[image_of].to(device)
    size = (pixels.shape[-2], pixels.shape[-1])
    on_device = {
        name: RerunMaps(torch.as_tensor(one.raw[some]).to(device), one.grid, one.signed, size, one.reading)
        for name, one in maps.items()
    }
    return RerunBlock(pixels, image_of.to(device), target.to(device), on_device, battery)


def _score_method(block: RerunBlock, name: Any, new_maps: Mapping[RerunKey, Tensor]) -> dict[MetricImputer, Result]:
    """Return every metric's values for one method's maps."""
    maps, usable, results = block.maps[name], block.usable[name], {}
    flags, before = (maps.constant.cpu().numpy(), maps.broken.cpu().numpy()), maps.select(usable)
    again = {(key.change, key.imputer): replace(maps, raw=raw) for key, raw in new_maps.items() if key.method == name}
    requested = requested_reruns(block.battery.metrics)
    for label, imputer in _pairs(block.battery.metrics, block.battery.imputers):
        if not len(usable):
            results[label, imputer] = assign_status(Values(()), *flags)
            continue
        module, options = block.battery.metrics[label]
        after = {rerun.name: again[rerun.name, "" if rerun.per_image else imputer] for rerun in requested[label]}
        not_finite = torch.stack([maps.broken for maps in after.values()]).any(dim=0).cpu().numpy()
        values = to_numpy(module.score(before, after, **options))
        results[label, imputer] = _status_of_reruns(values, not_finite, *flags)
    return results


def _pairs(metrics: BoundPlugins, imputers: BoundPlugins) -> list[MetricImputer]:
    return [
        (label, imputer)
        for label, (module, _) in metrics.items()
        for imputer in (imputers if module.METRIC.imputed else ("",))
    ]


def _status_of_reruns(
    values: Values, not_finite: NDArray[np.bool_], degenerate: NDArray[np.bool_], broken: NDArray[np.bool_]
) -> Result:
    """Return a status for every row; if a new map is not finite, the score is "failed" with that reason."""
    undefined = np.zeros(len(not_finite), dtype=bool) if values.undefined is None else values.undefined
    value = np.where(not_finite, np.nan, values.value)
    result = assign_status(Values(value, undefined & ~not_finite, values.reason), degenerate, broken)
    rows = np.zeros(len(degenerate), dtype=bool)
    rows[~(degenerate | broken)] = not_finite
    return replace(result, reason=np.where(rows, NO_FINITE_MAP, result.reason))
