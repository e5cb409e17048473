"""Score the agreement between the seeds of one architecture: one table of score rows from their stored maps.

All maps explain the true class. Every method is compared on the images that all seeds explained; of a
shuffled method the first copy only.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from gradfaith.metrics.contract import BoundPlugins
from gradfaith.metrics.runners.agreement import ComparedImages, ModelMaps, compare_seeds
from gradfaith.scoring.score_rows import ModelKey, method_copies, rows_of_target, score_table
from gradfaith.storage.hdf5 import ImageStore, MapStore
from gradfaith.storage.map_info import MapInfo


def score_agreement(
    images: ImageStore,
    stores: Mapping[ModelKey, Mapping[str, MapStore]],
    predictions: pd.DataFrame,
    metrics: BoundPlugins,
    seed: int,
) -> pd.DataFrame:
    """Return score rows of the agreement between the seeds of one architecture, on the true class's maps.

    `stores`: model -> bundle -> store, of models that differ in the seed; `seed`: of the draws.
    """
    by_image = predictions.drop_duplicates("image_id").set_index("image_id")
    (arch,), tables = {arch for arch, _ in stores}, []
    for bundle in next(iter(stores.values())):
        by_seed = {number: maps[bundle] for (_, number), maps in stores.items()}
        first = next(iter(by_seed.values()))
        shared = set.intersection(*(set(maps.rows["image_id"]) for maps in by_seed.values()))
        ids = [image for image in dict.fromkeys(first.rows["image_id"]) if image in shared]
        for label, info, copy in method_copies(first):
            if copy:
                continue  # one shuffled copy is enough for the chance level
            models = {number: true_class_maps(maps, label, info, images) for number, maps in by_seed.items()}
            for pair in compare_seeds(models, compared_images(ids, by_image), metrics, key=(seed, "agreement")):
                columns = {
                    "arch": arch, "seed": pair.seed, "arch2": arch, "seed2": pair.seed2, "method": label, "copy": copy,
                    "layer": info.layer, "target": "true", "metric": pair.metric, "variant": pair.variant,
                    "predicted": "", "correct": pd.NA,
                }  # fmt: skip
                tables.append(score_table(pair.result, ids, predictions, columns))
    return pd.concat(tables, ignore_index=True)


def true_class_maps(maps: MapStore, label: str, info: MapInfo, images: ImageStore) -> ModelMaps:
    """Return the true class's maps of one method in one store."""
    rows = np.asarray(rows_of_target(maps.rows, "true"))
    ids = list(maps.rows["image_id"].iloc[rows])
    return ModelMaps(maps.maps(label, 0)[rows], info.grid, info.signed, images.size, ids)


def compared_images(ids: Sequence[str], predictions: pd.DataFrame) -> ComparedImages:
    """Return images with their groups and labels; `predictions` are indexed by image."""
    rows = predictions.loc[list(ids)]
    return ComparedImages(list(ids), list(rows["group"]), list(rows["label"]))
