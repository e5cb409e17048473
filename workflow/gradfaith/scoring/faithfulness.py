"""A faithfulness job: the maps of one cell handed to the engine, or to the runner that explains again, its results made rows.

The regions of images as a faithfulness job hands them to the engine: from the store's masks, decoys drawn by image.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gradfaith import rng
from gradfaith.metrics.contract import Explain, Stored
from gradfaith.metrics.maps.removals import numbered
from gradfaith.metrics.runners import masking, rerun
from gradfaith.metrics.runners.masking import Results
from gradfaith.models.classifier import Classifier
from gradfaith.runtime.batching import Most
from gradfaith.scoring.score_rows import Chosen, every_map, frame, of_target
from gradfaith.storage.hdf5 import Images, Maps
from gradfaith.storage.parquet import CURVES, SCORES, empty


def scores(
    model: Classifier, images: Images, maps: Maps, predictions: pd.DataFrame, metrics: Chosen, imputers: Chosen,
    cell: Mapping[str, Any], seed: int, *, chunk: Most, explain: Explain | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Score rows of every map, metric and imputer of a battery, and the points of its curves; `explain` where it explains again."""
    frames, curves = [empty(SCORES)], [empty(CURVES)]
    for target in ("predicted", "true"):
        wanted = {label: use for label, use in metrics.items() if use[0].METRIC.target == target}
        rows = of_target(maps.rows, target)
        if wanted and len(rows) and maps.methods:  # a bundle may have no method for this architecture
            found = _ask(model, explain, images, maps, rows, wanted, imputers, seed, chunk)
            about = {**cell, "target": target}
            frames.extend(_frames(found, maps, rows, predictions, about))
            curves.extend(_curves(found, maps, rows, predictions, about))
    return pd.concat(frames, ignore_index=True), pd.concat(curves, ignore_index=True)


def _ask(
    model: Classifier, explain: Explain | None, images: Images, maps: Maps, rows: NDArray[np.int64], metrics: Chosen,
    imputers: Chosen, seed: int, chunk: Most,
) -> Results:  # fmt: skip
    device = next(model.parameters()).device
    about = maps.rows.iloc[rows]
    ids = list(about["image_id"])
    pixels = torch.from_numpy(images.pixels(ids)).to(device).float() / 255
    stored = dict(_stored(maps, rows, rival=any(module.METRIC.rival for module, _ in metrics.values())))
    mean = torch.full((pixels.shape[1],), images.mean, device=device)
    asked: dict[str, Any] = {"mean": mean, "image_ids": ids, "key": (seed, "impute"), "chunk": chunk, "device": device}
    if explain is not None:
        found = rerun.run(explain, pixels, stored, metrics, imputers, **asked)
        print(f"{found.done} images explained again, {found.planned} if nothing were shared", flush=True)  # noqa: T201 - the job's log
        return found
    decoys = [options["decoys"] for module, options in metrics.values() if module.METRIC.regional]
    if decoys:
        asked["regions"] = torch.from_numpy(regions(images, ids, max(decoys), seed))
    found = masking.run(model, pixels, stored, metrics, imputers, **asked)
    print(f"{found.done} forwards, {found.planned} if nothing were shared", flush=True)  # noqa: T201 - the job's log
    return found


def _stored(maps: Maps, rows: NDArray[np.int64], *, rival: bool) -> Iterator[tuple[tuple[str, int], Stored]]:
    """Every method's maps; with `rival` also those of the image's other class, where it was explained."""
    ids, target = maps.rows["image_id"].to_numpy(), maps.rows["target"].to_numpy()
    own = set(rows.tolist())
    place = {image: row for row, image in enumerate(ids) if row not in own}
    other = np.array([place.get(ids[row], -1) for row in rows], dtype=np.int64)
    classes, image = torch.tensor(target[rows]), torch.arange(len(rows))
    for label, info, copy in every_map(maps):
        raw = maps.maps(label, copy)
        found = Stored(torch.from_numpy(raw[rows]), info.grid, info.signed, image, classes)
        if rival:
            against = np.where((other >= 0)[:, None, None], raw[other], 0).astype(np.float32)
            found = replace(found, rival=torch.from_numpy(against), against=torch.tensor(target[other]))
        yield (label, copy), found


def _frames(
    found: Results, maps: Maps, rows: NDArray[np.int64], predictions: pd.DataFrame, about: Mapping[str, Any]
) -> Iterator[pd.DataFrame]:
    ids = list(maps.rows["image_id"].iloc[rows])
    for label, info, copy in every_map(maps):
        for (metric, imputer), result in found.of[(label, copy)].items():
            what = {"method": label, "copy": copy, "layer": info.layer, "metric": metric, "variant": imputer}
            yield frame(result, ids, predictions, {**about, **what})


def _curves(
    found: Results, maps: Maps, rows: NDArray[np.int64], predictions: pd.DataFrame, about: Mapping[str, Any]
) -> Iterator[pd.DataFrame]:
    """A row per map and point, of maps that have a curve; of shuffled maps the first copy only."""
    ids = maps.rows["image_id"].iloc[rows].to_numpy()
    known = predictions.drop_duplicates("image_id").set_index("image_id")
    for label, info, copy in every_map(maps):
        for (imputer, order, share), values in found.curves[(label, copy)].items():
            there = np.isfinite(values)
            if copy or not there.any():
                continue
            table = pd.DataFrame({"image_id": ids[there], "probability": values[there]})
            for name in ("group", "part", "label", "predicted", "correct"):
                table[name] = known.loc[ids[there], name].to_numpy()
            point = {"method": label, "layer": info.layer, "imputer": imputer, "order": order, "fraction": share}
            what: Mapping[str, Any] = {**about, **point}
            yield table.assign(**what)


def regions(images: Images, ids: Sequence[str], decoys: int, seed: int) -> NDArray[np.uint8]:  # (n, h, w)
    """Parts where the store has them; else evidence, shortcut and decoys, the same in every job of the study."""
    parts, known = images.parts(ids)
    evidence, shortcut, body = (images.mask(region, ids)[0] for region in ("evidence", "shortcut", "body"))
    found = [
        parts[row]
        if known[row]
        else numbered(evidence[row], shortcut[row], body[row], decoys, rng.generator(seed, "decoys", image))
        for row, image in enumerate(ids)
    ]
    return np.stack(found) if found else parts
