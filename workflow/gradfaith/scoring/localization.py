"""A localization job: the maps of one model handed to the runner beside the masks of its images.

Images come in chunks, and every method of a store is scored on a chunk before the next one is read: what is computed of
a mask is computed once for all methods, and memory does not grow with the images. Maps of the predicted and of the true
class are scored alike; which of the two a metric reads decides the rows that are kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.metrics.contract import Result, join
from gradfaith.metrics.maps.located import Region
from gradfaith.metrics.runners.localization import localize
from gradfaith.scoring.score_rows import Chosen, every_map, frame, of_target
from gradfaith.storage.hdf5 import Images, Maps
from gradfaith.storage.map_info import MapInfo

CHUNK = 64
Found = dict[tuple[str, str], Result]  # by metric and variant


def scores(
    images: Images,
    stores: Sequence[Maps],
    predictions: pd.DataFrame,
    metrics: Chosen,
    model: Mapping[str, Any],
    chunk: int = CHUNK,
) -> pd.DataFrame:
    """Localization scores of all methods of one model."""
    frames = []
    for maps in stores:
        ids = maps.rows["image_id"].to_numpy()
        for label, info, copy, found in _found(images, maps, metrics, chunk):
            what = {**model, "method": label, "copy": copy, "layer": info.layer}
            for target in ("predicted", "true"):
                own = {key: found[key] for key in found if metrics[key[0]][0].METRIC.target == target}
                rows = of_target(maps.rows, target)
                if own and len(rows):
                    frames.append(_frame(own, rows, ids, predictions, what | {"target": target}))
    return pd.concat(frames, ignore_index=True)


def _found(images: Images, maps: Maps, metrics: Chosen, chunk: int) -> Iterator[tuple[str, MapInfo, int, Found]]:
    """Every method and copy of a store with its results, in the store's order of maps."""
    ids, wanted = list(maps.rows["image_id"]), {module.METRIC.region for module, _ in metrics.values()}
    methods = list(every_map(maps))
    parts: list[list[Found]] = [[] for _ in methods]
    for start in range(0, len(ids), chunk):
        rows = slice(start, start + chunk)
        regions = {name: Region(images.mask(name, ids[rows])[0]) for name in images.regions if name in wanted}
        for (label, info, copy), part in zip(methods, parts, strict=True):
            raw = maps.maps(label, copy, rows)
            part.append(
                localize(raw, grid=info.grid, signed=info.signed, size=images.size, regions=regions, metrics=metrics)
            )
    for (label, info, copy), part in zip(methods, parts, strict=True):
        yield label, info, copy, {key: join([found[key] for found in part]) for key in part[0]}


def _frame(
    found: Found, rows: NDArray[np.int64], ids: NDArray[Any], predictions: pd.DataFrame, what: Mapping[str, Any]
) -> pd.DataFrame:
    """Score rows of all metrics of one method, one metric after the other."""
    metric, variant = (np.repeat(names, len(rows)) for names in zip(*found, strict=True))
    result = join([one.rows(rows) for one in found.values()])
    return frame(result, list(ids[rows]) * len(found), predictions, {**what, "metric": metric, "variant": variant})
