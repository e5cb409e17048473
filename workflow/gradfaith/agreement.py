"""An agreement job: the true class's maps of one architecture's seeds, side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gradfaith.mapinfo import MapInfo
from gradfaith.metrics.agree import Stacks, agree
from gradfaith.metrics.evaluated import evaluate
from gradfaith.rows import Chosen, every_map, frame, of_target
from gradfaith.stores import Images, Maps


def scores(
    images: Images,
    stores: Mapping[int, Sequence[Maps]],
    predictions: pd.DataFrame,
    metrics: Chosen,
    model: Mapping[str, Any],
    seed: int,
) -> pd.DataFrame:
    """Agreement between the seeds of one architecture, on the true class's maps; `stores`: seed -> its cells."""
    known = predictions.drop_duplicates("image_id").set_index("image_id")
    frames = []
    for cell in range(len(next(iter(stores.values())))):
        cells = {number: maps[cell] for number, maps in stores.items()}
        first = next(iter(cells.values()))
        shared = set.intersection(*(set(maps.rows["image_id"]) for maps in cells.values()))
        ids = [image for image in dict.fromkeys(first.rows["image_id"]) if image in shared]
        for label, info, copy in every_map(first):
            if copy:
                continue  # one shuffled copy says what chance is; five say it five times
            stacks = _stacks(cells, label, info, ids, known, images.size)
            for pair in agree(stacks, metrics, key=(seed, "agreement")):
                what = {
                    **model, "seed": pair.seed, "arch2": model["arch"], "seed2": pair.seed2, "method": label, "copy": copy,
                    "layer": info.layer, "target": "true", "metric": pair.metric, "variant": pair.variant,
                    "predicted": "", "correct": pd.NA,
                }  # fmt: skip
                frames.append(frame(pair.result, ids, predictions, what))
    return pd.concat(frames, ignore_index=True)


def _stacks(
    cells: Mapping[int, Maps], label: str, info: MapInfo, ids: Sequence[str], known: pd.DataFrame, size: Any
) -> Stacks:
    evaluated = []
    for maps in cells.values():
        rows = of_target(maps.rows, "true")
        place = {image: row for row, image in zip(rows, maps.rows["image_id"].iloc[rows], strict=True)}
        own = maps.maps(label, 0)[[place[image] for image in ids]]
        evaluated.append(evaluate(own, grid=info.grid, signed=info.signed, size=tuple(size)))
    unit, degenerate, broken = (np.stack(parts) for parts in zip(*evaluated, strict=True))
    about = known.loc[list(ids)]
    return Stacks(unit, degenerate, broken, list(cells), list(ids), list(about["group"]), list(about["label"]))
