"""A faithfulness job: the maps of one cell handed to the engine, its results made rows."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch

from gradfaith.metrics.contract import Stored
from gradfaith.metrics.engine import run
from gradfaith.models.build import Classifier
from gradfaith.score import Chosen, every_map, frame, of_target
from gradfaith.stores import Images, Maps


def scores(
    model: Classifier, images: Images, maps: Maps, predictions: pd.DataFrame, metrics: Chosen, imputers: Chosen,
    cell: Mapping[str, Any], seed: int, *, chunk: int,
) -> pd.DataFrame:  # fmt: skip
    """Score rows of every map, metric and imputer of a battery."""
    device = next(model.parameters()).device
    frames = []
    for target in ("predicted", "true"):
        wanted = {label: use for label, use in metrics.items() if use[0].METRIC.target == target}
        rows = of_target(maps.rows, target)
        if not wanted or not len(rows):
            continue
        about = maps.rows.iloc[rows]
        ids = list(about["image_id"])
        pixels = torch.from_numpy(images.pixels(ids)).to(device).float() / 255
        classes = torch.tensor(about["target"].to_numpy())
        stored = {
            (label, copy): Stored(
                torch.from_numpy(maps.maps(label, copy)[rows]), info.grid, info.signed, torch.arange(len(ids)), classes
            )
            for label, info, copy in every_map(maps)
        }
        named = {f"{label}\x1f{copy}": one for (label, copy), one in stored.items()}
        mean = torch.full((pixels.shape[1],), images.mean, device=device)
        found = run(
            model,
            pixels,
            named,
            wanted,
            imputers,
            mean=mean,
            image_ids=ids,
            key=(seed, "impute"),
            chunk=chunk,
            device=device,
        )
        print(f"{target}: {found.done} forwards, {found.planned} if nothing were shared", flush=True)  # noqa: T201 - the job's log
        for (label, copy), name in zip(stored, named, strict=True):
            for (metric, imputer), result in found.of[name].items():
                what = {**cell, "method": label, "copy": copy, "layer": maps.methods[label].layer, "target": target}
                frames.append(frame(result, ids, predictions, {**what, "metric": metric, "variant": imputer}))
    return pd.concat(frames, ignore_index=True)
