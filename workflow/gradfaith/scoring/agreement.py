"""An agreement job: the true class's maps of one architecture's seeds, side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gradfaith.metrics.runners.agreement import Shown, Side, agree
from gradfaith.scoring.score_rows import Chosen, every_map, frame, of_target
from gradfaith.storage.hdf5 import Images, Maps
from gradfaith.storage.map_info import MapInfo


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
            sides = {number: side(maps, label, info, images) for number, maps in cells.items()}
            for pair in agree(sides, shown(ids, known), metrics, key=(seed, "agreement")):
                what = {
                    **model, "seed": pair.seed, "arch2": model["arch"], "seed2": pair.seed2, "method": label, "copy": copy,
                    "layer": info.layer, "target": "true", "metric": pair.metric, "variant": pair.variant,
                    "predicted": "", "correct": pd.NA,
                }  # fmt: skip
                frames.append(frame(pair.result, ids, predictions, what))
    return pd.concat(frames, ignore_index=True)


def side(maps: Maps, label: str, info: MapInfo, images: Images) -> Side:
    """The true class's maps of one method in one store."""
    rows = np.asarray(of_target(maps.rows, "true"))
    ids = list(maps.rows["image_id"].iloc[rows])
    return Side(maps.maps(label, 0)[rows], info.grid, info.signed, images.size, ids)


def shown(ids: Sequence[str], known: pd.DataFrame) -> Shown:
    """What is known of some images; `known`: predictions by image."""
    about = known.loc[list(ids)]
    return Shown(list(ids), list(about["group"]), list(about["label"]))
