"""Score the faithfulness of one cell's maps with one battery: score rows, and points of removal curves.

The masking runner computes batteries of metrics that read the model's output on modified images; the rerun runner
computes those that run the methods again. For regional metrics this module numbers the regions of each image: from the
store's masks, with decoys drawn for the image.

Images and maps are read when the runner needs them, some at a time, and the rows of every `IMAGES_PER_TABLE` images are
passed on immediately. So memory grows neither with the images nor with the methods or their copies.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradfaith import rng
from gradfaith.metrics.contract import BoundPlugins, ExplainFunction, MethodMaps
from gradfaith.metrics.maps.removals import number_regions
from gradfaith.metrics.maps.renders import RenderTable
from gradfaith.metrics.runners import masking, rerun
from gradfaith.metrics.runners.masking import BatteryResults
from gradfaith.models.classifier import Classifier
from gradfaith.runtime.device import BatchLimit
from gradfaith.scoring.score_rows import ScoredMaps, index_by_image, join_score_table, method_copies, rows_of_target
from gradfaith.storage.hdf5 import ImageStore, MapStore
from gradfaith.storage.parquet import CURVES, empty
from gradfaith.vocabulary import CONTRAST_ROLES

IMAGES_PER_TABLE = 64
RIVAL_ROLE = {
    "predicted": "true",
    "true": "predicted",
    CONTRAST_ROLES[0]: CONTRAST_ROLES[1],
}  # of the map of another class


@dataclass(frozen=True)
class FaithfulnessTables:
    """The rows of some images."""

    scores: pd.DataFrame
    curves: pd.DataFrame


def score_faithfulness(
    model: Classifier, images: ImageStore, maps: MapStore, predictions: pd.DataFrame, metrics: BoundPlugins,
    imputers: BoundPlugins, cell: Mapping[str, Any], seed: int, *, chunk: BatchLimit, explain: ExplainFunction | None = None,
) -> Iterator[FaithfulnessTables]:  # fmt: skip
    """Yield the score rows of every map, metric and imputer of a battery, and its curve points, some images at a time.

    `cell`: columns arch and seed; `seed`: of the random streams; `explain`: for the battery "rerun", None for the others.
    """
    by_image, temperature = index_by_image(predictions), _temperature(predictions)
    for target, role in (("predicted", "predicted"), ("true", "true"), ("true", CONTRAST_ROLES[0])):
        wanted = {
            label: plugin
            for label, plugin in metrics.items()
            if plugin[0].METRIC.target == target and plugin[0].METRIC.contrast == (role in CONTRAST_ROLES)
        }
        rows = rows_of_target(maps.rows, role)
        if wanted and len(rows) and maps.methods:  # a bundle may have no method for this architecture
            ids, columns = maps.rows["image_id"].to_numpy()[rows], {**cell, "target": target}
            for results in _run_battery(
                model, explain, images, maps, rows, role, wanted, imputers, seed, chunk, temperature
            ):
                scored = by_image.loc[ids[results.rows]]
                yield FaithfulnessTables(
                    _score_table(results, maps, scored, columns), _curve_table(results, maps, scored, columns)
                )


def _temperature(predictions: pd.DataFrame) -> float:
    """Return the temperature of a model's calibrated probabilities; 1 if its predictions state none."""
    return float(predictions["temperature"].iloc[0]) if "temperature" in predictions else 1.0


def _run_battery(
    model: Classifier, explain: ExplainFunction | None, images: ImageStore, maps: MapStore, rows: NDArray[np.int64],
    role: str, metrics: BoundPlugins, imputers: BoundPlugins, seed: int, chunk: BatchLimit, temperature: float,
) -> Iterator[BatteryResults]:  # fmt: skip
    """Run the battery on some rows of a store, yield results for some images at a time, and log the passes saved by sharing."""
    device = next(chain(model.parameters(), model.buffers())).device
    pixels = StoredImages(images, list(maps.rows.iloc[rows]["image_id"]))
    rival = RIVAL_ROLE[role] if any(module.METRIC.rival for module, _ in metrics.values()) else ""
    by_method = dict(_method_maps(maps, rows, rival))
    settings: dict[str, Any] = {
        "mean": torch.full((pixels[:1].shape[1],), images.mean, device=device),
        "image_ids": pixels.ids,
        "key": (seed, "impute"),
        "chunk": chunk,
        "device": device,
    }
    if explain is not None:
        words = "{} images explained again, {} if nothing were shared"
        chunks = rerun.run_in_chunks(explain, pixels, by_method, metrics, imputers, **settings)
    else:
        decoys = [options["decoys"] for module, options in metrics.values() if module.METRIC.regional]
        if decoys:
            settings["regions"] = StoredRegions(images, pixels.ids, max(decoys), seed)
        if any(module.METRIC.battery == "rendered" for module, _ in metrics.values()):
            settings["regions"] = StoredRegions(images, pixels.ids, 0, seed)
            settings["renders"] = StoredRenders(images, pixels.ids)
        settings["temperature"] = temperature
        words = "{} forwards, {} if nothing were shared"
        chunks = masking.run_in_chunks(model, pixels, by_method, metrics, imputers, **settings)
    run = requested = 0
    for results in masking.join_chunks(chunks, IMAGES_PER_TABLE):
        run, requested = run + results.passes_run, requested + results.passes_requested
        yield results
    print(words.format(run, requested), flush=True)  # noqa: T201 - the job's log


@dataclass(frozen=True)
class StoredImages:
    """The images `ids` of a store, (n, c, h, w) in [0, 1], read when indexed."""

    images: ImageStore
    ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: Any) -> Tensor:
        ids = self.ids[rows] if isinstance(rows, slice) else [self.ids[row] for row in rows.tolist()]
        return torch.from_numpy(self.images.pixels(ids)).float() / 255


@dataclass(frozen=True)
class StoredRegions:
    """The region numbers of the images `ids` of a store, (n, h, w), read and drawn when indexed."""

    images: ImageStore
    ids: Sequence[str]
    decoys: int
    seed: int

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice) -> Tensor:
        return torch.from_numpy(region_numbers(self.images, self.ids[rows], self.decoys, self.seed))


class StoredRenders:
    """The images without parts of the images `ids` of a store, listed at once and read when needed."""

    def __init__(self, images: ImageStore, ids: Sequence[str]) -> None:
        self.images, self.ids = images, ids
        table = images.renders()
        self.sets = sorted(set(table["removed"]), key=lambda parts: (len(parts), parts))
        column = {parts: place for place, parts in enumerate(self.sets)}
        row = {image: place for place, image in enumerate(ids)}
        own = table[table["image_id"].isin(row)]
        places = own["image_id"].map(row).to_numpy(np.int64), own["removed"].map(column).to_numpy(np.int64)
        facts = own.index.to_numpy(np.int64), own["sufficient"].to_numpy(bool), own["shared"].to_numpy(np.int64)
        self.facts = [np.full((len(ids), len(self.sets)), blank) for blank in (-1, False, 0)]
        for filled, values in zip(self.facts, facts, strict=True):
            filled[places] = values

    def __getitem__(self, rows: slice) -> RenderTable:
        number, sufficient, shared = (torch.from_numpy(fact[rows]) for fact in self.facts)
        return RenderTable(self.sets, number, sufficient, shared, self._read)

    def _read(self, numbers: Sequence[int]) -> Tensor:
        return torch.from_numpy(self.images.render_pixels(np.array(numbers, dtype=np.int64))).float() / 255


@dataclass(frozen=True)
class StoredMaps:
    """The maps of one method and copy in some rows of a store, (m, h, w), read when indexed."""

    maps: MapStore
    label: str
    copy: int
    rows: NDArray[np.int64]  # (m,); -1: zeros, for a missing map

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, some: Any) -> Tensor:
        rows = self.rows[some]
        there = rows >= 0
        found = self.maps.maps(self.label, self.copy, rows[there])
        if not there.all():
            known, found = found, np.zeros((len(rows), *found.shape[1:]), dtype=np.float32)
            found[there] = known
        return torch.from_numpy(found)


def _method_maps(maps: MapStore, rows: NDArray[np.int64], rival: str) -> Iterator[tuple[tuple[str, int], MethodMaps]]:
    """Yield the maps of every method and copy; `rival`: also those of this role, where the image has one."""
    ids, target = maps.rows["image_id"].to_numpy(), maps.rows["target"].to_numpy()
    is_rival = (maps.rows["role"] == rival).to_numpy()
    other_row = {ids[row]: row for row in np.flatnonzero(is_rival)}
    other = np.array([other_row.get(ids[row], -1) for row in rows], dtype=np.int64)
    classes, image = torch.tensor(target[rows]), torch.arange(len(rows))
    for label, info, copy in method_copies(maps):
        method = MethodMaps(
            StoredMaps(maps, label, copy, rows), info.grid, info.signed, image, classes, reading=info.reading
        )
        if rival:
            against = torch.tensor(target[other])
            method = replace(method, rival=StoredMaps(maps, label, copy, other), against=against)
        yield (label, copy), method


def _score_table(
    results: BatteryResults, maps: MapStore, scored: pd.DataFrame, columns: Mapping[str, Any]
) -> pd.DataFrame:
    """Return the score rows of every method, metric and imputer; `scored`: columns of the predictions for the images."""
    found = [
        ScoredMaps(label, copy, info.layer, metric, imputer, result)
        for label, info, copy in method_copies(maps)
        for (metric, imputer), result in results.by_method[(label, copy)].items()
    ]
    return join_score_table(found, list(scored.index), scored, columns)


def _curve_table(
    results: BatteryResults, maps: MapStore, scored: pd.DataFrame, columns: Mapping[str, Any]
) -> pd.DataFrame:
    """Return a row per map and curve point, for maps with a curve; for shuffled maps, only the first copy."""
    found = [
        (label, info.layer, *point, values)
        for label, info, copy in method_copies(maps)
        if not copy
        for point, values in results.curves[(label, copy)].items()
    ]
    if not found:
        return empty(CURVES)
    *own, curves = zip(*found, strict=True)
    probability = np.stack(curves)  # (points, images)
    point, image = np.isfinite(probability).nonzero()
    table = pd.DataFrame({"image_id": scored.index[image], "probability": probability[point, image]})
    for name in ("group", "part", "label", "predicted", "correct"):
        table[name] = scored[name].to_numpy()[image]
    names = ("method", "layer", "imputer", "order", "fraction")
    taken: Mapping[str, Any] = {
        name: np.array(values, dtype=object)[point] for name, values in zip(names, own, strict=True)
    }
    return table.assign(**columns, **taken)


def region_numbers(images: ImageStore, ids: Sequence[str], decoys: int, seed: int) -> NDArray[np.uint8]:  # (n, h, w)
    """Number the regions of images: the parts if the store has them; else evidence, shortcut and `decoys` decoys.

    The decoys are the same in every job of the study.
    """
    parts, known = images.parts(ids)
    evidence, shortcut, body = (images.mask(region, ids)[0] for region in ("evidence", "shortcut", "body"))
    numbers = [
        parts[row]
        if known[row]
        else number_regions(evidence[row], shortcut[row], body[row], decoys, rng.generator(seed, "decoys", image))
        for row, image in enumerate(ids)
    ]
    return np.stack(numbers) if numbers else parts
