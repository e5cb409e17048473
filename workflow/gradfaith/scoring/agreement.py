"""Score the agreement between the seeds of one architecture, from their stored maps.

All maps explain the true class. Every method is compared on the images that all seeds explained; for a shuffled method,
only the first copy. The maps of one method are unpacked and prepared for the metrics in temporary files
(storage/atomic.py), because any two images may be compared. So memory does not grow with the number of images.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from gradfaith.metrics.contract import BoundPlugins
from gradfaith.metrics.runners.agreement import CHUNK, ComparedImages, ModelMaps, compare_seeds
from gradfaith.scoring.score_rows import ModelKey, index_by_image, method_copies, rows_of_target, score_table
from gradfaith.storage.atomic import new_rows
from gradfaith.storage.hdf5 import ImageStore, MapStore
from gradfaith.storage.map_info import MapInfo


def score_agreement(
    images: ImageStore,
    stores: Mapping[ModelKey, Mapping[str, MapStore]],
    predictions: pd.DataFrame,
    metrics: BoundPlugins,
    seed: int,
) -> Iterator[pd.DataFrame]:
    """Yield score rows of the agreement between the seeds of one architecture, on the true class's maps.

    `stores`: model -> bundle -> store, for models that differ in the seed. `seed`: of the random draws.
    """
    by_image = index_by_image(predictions)
    (arch,) = {arch for arch, _ in stores}
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
                yield score_table(pair.result, ids, by_image, columns)


def true_class_maps(maps: MapStore, label: str, info: MapInfo, images: ImageStore) -> ModelMaps:
    """Return the true class's maps of one method in one store, unpacked in a temporary file."""
    rows = np.asarray(rows_of_target(maps.rows, "true"))
    ids, raw = list(maps.rows["image_id"].iloc[rows]), new_rows((len(rows), *maps.cells(label)), np.float32)
    for start in range(0, len(rows), CHUNK):
        some = slice(start, min(start + CHUNK, len(rows)))
        raw[some] = maps.maps(label, 0, rows[some])
    return ModelMaps(raw, info.grid, info.signed, images.size, ids, info.reading, new_rows)


def compared_images(ids: Sequence[str], predictions: pd.DataFrame) -> ComparedImages:
    """Return images with their groups and labels; `predictions` are indexed by image."""
    rows = predictions.loc[list(ids)]
    return ComparedImages(list(ids), list(rows["group"]), list(rows["label"]))
