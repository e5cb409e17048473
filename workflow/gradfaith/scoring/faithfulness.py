"""Score the faithfulness of one cell's maps with one battery: score rows, and the points of removal curves.

The masking runner computes batteries of metrics that read the model's output on changed images; the rerun
runner computes those that run the methods again. For metrics of regions this module numbers the regions of
each image: from the store's masks, with decoys drawn for the image.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gradfaith import rng
from gradfaith.metrics.contract import BoundPlugins, ExplainFunction, MethodMaps
from gradfaith.metrics.maps.removals import number_regions
from gradfaith.metrics.runners import masking, rerun
from gradfaith.metrics.runners.masking import BatteryResults
from gradfaith.models.classifier import Classifier
from gradfaith.runtime.device import BatchLimit
from gradfaith.scoring.score_rows import method_copies, rows_of_target, score_table
from gradfaith.storage.hdf5 import ImageStore, MapStore
from gradfaith.storage.parquet import CURVES, SCORES, empty


def score_faithfulness(
    model: Classifier, images: ImageStore, maps: MapStore, predictions: pd.DataFrame, metrics: BoundPlugins,
    imputers: BoundPlugins, cell: Mapping[str, Any], seed: int, *, chunk: BatchLimit, explain: ExplainFunction | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Return score rows of every map, metric and imputer of a battery, and the points of its curves.

    `cell`: columns arch and seed; `seed`: of the random streams; `explain`: for the battery "rerun", None for the others.
    """
    tables, curves = [empty(SCORES)], [empty(CURVES)]
    for target in ("predicted", "true"):
        wanted = {label: plugin for label, plugin in metrics.items() if plugin[0].METRIC.target == target}
        rows = rows_of_target(maps.rows, target)
        if wanted and len(rows) and maps.methods:  # a bundle may have no method for this architecture
            results = _run_battery(model, explain, images, maps, rows, wanted, imputers, seed, chunk)
            columns = {**cell, "target": target}
            tables.extend(_score_tables(results, maps, rows, predictions, columns))
            curves.extend(_curve_tables(results, maps, rows, predictions, columns))
    return pd.concat(tables, ignore_index=True), pd.concat(curves, ignore_index=True)


def _run_battery(
    model: Classifier, explain: ExplainFunction | None, images: ImageStore, maps: MapStore, rows: NDArray[np.int64],
    metrics: BoundPlugins, imputers: BoundPlugins, seed: int, chunk: BatchLimit,
) -> BatteryResults:  # fmt: skip
    """Run the battery on some rows of a store, and log how many passes sharing has saved."""
    device = next(model.parameters()).device
    ids = list(maps.rows.iloc[rows]["image_id"])
    pixels = torch.from_numpy(images.pixels(ids)).to(device).float() / 255
    by_method = dict(_method_maps(maps, rows, rival=any(module.METRIC.rival for module, _ in metrics.values())))
    mean = torch.full((pixels.shape[1],), images.mean, device=device)
    settings: dict[str, Any] = {
        "mean": mean,
        "image_ids": ids,
        "key": (seed, "impute"),
        "chunk": chunk,
        "device": device,
    }
    if explain is not None:
        results = rerun.run_battery(explain, pixels, by_method, metrics, imputers, **settings)
        saved = f"{results.passes_run} images explained again, {results.passes_requested} if nothing were shared"
        print(saved, flush=True)  # noqa: T201 - the job's log
        return results
    decoys = [options["decoys"] for module, options in metrics.values() if module.METRIC.regional]
    if decoys:
        settings["regions"] = torch.from_numpy(region_numbers(images, ids, max(decoys), seed))
    results = masking.run_battery(model, pixels, by_method, metrics, imputers, **settings)
    print(f"{results.passes_run} forwards, {results.passes_requested} if nothing were shared", flush=True)  # noqa: T201 - the job's log
    return results


def _method_maps(
    maps: MapStore, rows: NDArray[np.int64], *, rival: bool
) -> Iterator[tuple[tuple[str, int], MethodMaps]]:
    """Yield the maps of every method and copy; with `rival` also those of the image's other class, where it has one."""
    ids, target = maps.rows["image_id"].to_numpy(), maps.rows["target"].to_numpy()
    own = set(rows.tolist())
    other_row = {image: row for row, image in enumerate(ids) if row not in own}
    other = np.array([other_row.get(ids[row], -1) for row in rows], dtype=np.int64)
    classes, image = torch.tensor(target[rows]), torch.arange(len(rows))
    for label, info, copy in method_copies(maps):
        raw = maps.maps(label, copy)
        method = MethodMaps(torch.from_numpy(raw[rows]), info.grid, info.signed, image, classes)
        if rival:
            against = np.where((other >= 0)[:, None, None], raw[other], 0).astype(np.float32)
            method = replace(method, rival=torch.from_numpy(against), against=torch.tensor(target[other]))
        yield (label, copy), method


def _score_tables(
    results: BatteryResults,
    maps: MapStore,
    rows: NDArray[np.int64],
    predictions: pd.DataFrame,
    columns: Mapping[str, Any],
) -> Iterator[pd.DataFrame]:
    """Yield score rows of every method, metric and imputer."""
    ids = list(maps.rows["image_id"].iloc[rows])
    for label, info, copy in method_copies(maps):
        for (metric, imputer), result in results.by_method[(label, copy)].items():
            own = {"method": label, "copy": copy, "layer": info.layer, "metric": metric, "variant": imputer}
            yield score_table(result, ids, predictions, {**columns, **own})


def _curve_tables(
    results: BatteryResults,
    maps: MapStore,
    rows: NDArray[np.int64],
    predictions: pd.DataFrame,
    columns: Mapping[str, Any],
) -> Iterator[pd.DataFrame]:
    """Yield a row per map and curve point, of maps that have a curve; of shuffled maps the first copy only."""
    ids = maps.rows["image_id"].iloc[rows].to_numpy()
    by_image = predictions.drop_duplicates("image_id").set_index("image_id")
    for label, info, copy in method_copies(maps):
        for (imputer, order, share), values in results.curves[(label, copy)].items():
            finite = np.isfinite(values)
            if copy or not finite.any():
                continue
            table = pd.DataFrame({"image_id": ids[finite], "probability": values[finite]})
            for name in ("group", "part", "label", "predicted", "correct"):
                table[name] = by_image.loc[ids[finite], name].to_numpy()
            point = {"method": label, "layer": info.layer, "imputer": imputer, "order": order, "fraction": share}
            every: Mapping[str, Any] = {**columns, **point}
            yield table.assign(**every)


def region_numbers(images: ImageStore, ids: Sequence[str], decoys: int, seed: int) -> NDArray[np.uint8]:  # (n, h, w)
    """Number the regions of images: the parts where the store has them; else evidence, shortcut and `decoys` decoys.

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
