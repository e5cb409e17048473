"""Score the localization of one model's maps, from its stored maps and the masks of the images.

Images come in chunks. Every method of a store is scored on a chunk, and its rows are passed on, before the next chunk is
read. So results for a mask are computed once for all methods, and memory does not grow with the number of images. Maps of
the predicted and of the true class are scored alike; the target of a metric decides which rows are kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from gradfaith.metrics.contract import BoundPlugins
from gradfaith.metrics.maps.located import Region
from gradfaith.metrics.runners.localization import localize
from gradfaith.scoring.score_rows import ScoredMaps, index_by_image, join_score_table, method_copies, rows_of_target
from gradfaith.storage.hdf5 import ImageStore, MapStore

CHUNK = 64  # images at once


def score_localization(
    images: ImageStore,
    stores: Sequence[MapStore],
    predictions: pd.DataFrame,
    metrics: BoundPlugins,
    model: Mapping[str, Any],
    chunk: int = CHUNK,
) -> Iterator[pd.DataFrame]:
    """Yield the localization scores of all methods of one model, some maps at a time; `model`: its columns arch and seed."""
    by_image = index_by_image(predictions)
    for maps in stores:
        of_target = {target: rows_of_target(maps.rows, target) for target in ("predicted", "true")}
        for start in range(0, len(maps.rows), chunk):
            some = slice(start, min(start + chunk, len(maps.rows)))
            ids, found = maps.rows["image_id"].to_numpy()[some], list(_score_maps(images, maps, metrics, some))
            for target, rows in of_target.items():
                kept = rows[(rows >= some.start) & (rows < some.stop)] - some.start
                own = [
                    one._replace(result=one.result.select(kept))
                    for one in found
                    if metrics[one.metric][0].METRIC.target == target
                ]
                if own and len(kept):
                    yield join_score_table(own, list(ids[kept]), by_image, {**model, "target": target})


def _score_maps(images: ImageStore, maps: MapStore, metrics: BoundPlugins, rows: slice) -> Iterator[ScoredMaps]:
    """Yield the results of every method and copy of a store for some rows."""
    ids, wanted = list(maps.rows["image_id"].iloc[rows]), {module.METRIC.region for module, _ in metrics.values()}
    regions = {name: Region(images.mask(name, ids)[0]) for name in images.regions if name in wanted}
    for label, info, copy in method_copies(maps):
        how: dict[str, Any] = {
            "grid": info.grid,
            "signed": info.signed,
            "reading": info.reading,
            "size": images.size,
        }
        results = localize(maps.maps(label, copy, rows), regions=regions, metrics=metrics, **how)
        for (metric, variant), result in results.items():
            yield ScoredMaps(label, copy, info.layer, metric, variant, result)
