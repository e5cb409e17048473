"""A faithfulness job: the maps of one cell handed to the engine, or to the runner that explains again, its results made rows."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gradfaith.device import Most
from gradfaith.metrics import engine, rerun
from gradfaith.metrics.contract import Explain, Stored
from gradfaith.metrics.engine import Results
from gradfaith.models.build import Classifier
from gradfaith.rows import Chosen, every_map, frame, of_target
from gradfaith.stores import Images, Maps
from gradfaith.tables import CURVES, empty


def scores(
    model: Classifier, images: Images, maps: Maps, predictions: pd.DataFrame, metrics: Chosen, imputers: Chosen,
    cell: Mapping[str, Any], seed: int, *, chunk: Most, explain: Explain | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Score rows of every map, metric and imputer of a battery, and the points of its curves; `explain` where it explains again."""
    frames, curves = list[pd.DataFrame](), [empty(CURVES)]
    for target in ("predicted", "true"):
        wanted = {label: use for label, use in metrics.items() if use[0].METRIC.target == target}
        rows = of_target(maps.rows, target)
        if wanted and len(rows):
            found = _ask(model, explain, images, maps, rows, wanted, imputers, (seed, "impute"), chunk)
            about = {**cell, "target": target}
            frames.extend(_frames(found, maps, rows, predictions, about))
            curves.extend(_curves(found, maps, rows, predictions, about))
    return pd.concat(frames, ignore_index=True), pd.concat(curves, ignore_index=True)


def _ask(
    model: Classifier, explain: Explain | None, images: Images, maps: Maps, rows: NDArray[np.int64], metrics: Chosen,
    imputers: Chosen, key: tuple[object, ...], chunk: Most,
) -> Results:  # fmt: skip
    device = next(model.parameters()).device
    about = maps.rows.iloc[rows]
    ids, place = list(about["image_id"]), torch.arange(len(rows))
    pixels = torch.from_numpy(images.pixels(ids)).to(device).float() / 255
    classes = torch.tensor(about["target"].to_numpy())
    stored = {
        (label, copy): Stored(torch.from_numpy(maps.maps(label, copy)[rows]), info.grid, info.signed, place, classes)
        for label, info, copy in every_map(maps)
    }
    mean = torch.full((pixels.shape[1],), images.mean, device=device)
    asked: dict[str, Any] = {"mean": mean, "image_ids": ids, "key": key, "chunk": chunk, "device": device}
    if explain is not None:
        found = rerun.run(explain, pixels, stored, metrics, imputers, **asked)
        print(f"{found.done} images explained again, {found.planned} if nothing were shared", flush=True)  # noqa: T201 - the job's log
    else:
        found = engine.run(model, pixels, stored, metrics, imputers, **asked)
        print(f"{found.done} forwards, {found.planned} if nothing were shared", flush=True)  # noqa: T201 - the job's log
    return found


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
