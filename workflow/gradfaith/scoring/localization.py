"""Score the localization of one model's maps: score rows from its stored maps and the masks of the images.

Images come in chunks. Every method of a store is scored on a chunk, and its rows are handed on, before the next
chunk is read: what is computed of a mask is computed once for all methods, and memory does not grow with the
images. Maps of the predicted and of the true class are scored alike; the target of a metric decides which rows
are kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.metrics.contract import BoundPlugins, Result, concatenate_results
from gradfaith.metrics.maps.located import Region
from gradfaith.metrics.runners.localization import localize
from gradfaith.scoring.score_rows import index_by_image, method_copies, rows_of_target, score_table
from gradfaith.storage.hdf5 import ImageStore, MapStore
from gradfaith.storage.map_info import MapInfo

CHUNK = 64  # images at once
ResultsByVariant = dict[tuple[str, str], Result]  # by metric and variant


def score_localization(
    images: ImageStore,
    stores: Sequence[MapStore],
    predictions: pd.DataFrame,
    metrics: BoundPlugins,
    model: Mapping[str, Any],
    chunk: int = CHUNK,
) -> Iterator[pd.DataFrame]:
    """Yield the localization scores of all methods of one model, some maps at a time; `model`: its columns, arch and seed."""
    by_image = index_by_image(predictions)
    for maps in stores:
        of_target = {target: rows_of_target(maps.rows, target) for target in ("predicted", "true")}
        for start in range(0, len(maps.rows), chunk):
            some = slice(start, min(start + chunk, len(maps.rows)))
            ids, tables = maps.rows["image_id"].to_numpy()[some], list[pd.DataFrame]()
            for label, info, copy, results in _score_maps(images, maps, metrics, some):
                columns = {**model, "method": label, "copy": copy, "layer": info.layer}
                for target, rows in of_target.items():
                    own = {key: results[key] for key in results if metrics[key[0]][0].METRIC.target == target}
                    kept = rows[(rows >= some.start) & (rows < some.stop)] - some.start
                    if own and len(kept):
                        tables.append(_method_table(own, kept, ids, by_image, columns | {"target": target}))
            if tables:
                yield pd.concat(tables, ignore_index=True)


def _score_maps(
    images: ImageStore, maps: MapStore, metrics: BoundPlugins, rows: slice
) -> Iterator[tuple[str, MapInfo, int, ResultsByVariant]]:
    """Yield every method and copy of a store with its results for some rows."""
    ids, wanted = list(maps.rows["image_id"].iloc[rows]), {module.METRIC.region for module, _ in metrics.values()}
    regions = {name: Region(images.mask(name, ids)[0]) for name in images.regions if name in wanted}
    for label, info, copy in method_copies(maps):
        how: dict[str, Any] = {
            "grid": info.grid,
            "signed": info.signed,
            "reading": info.reading,
            "size": images.size,
        }
        yield label, info, copy, localize(maps.maps(label, copy, rows), regions=regions, metrics=metrics, **how)


def _method_table(
    results: ResultsByVariant,
    rows: NDArray[np.int64],
    ids: NDArray[Any],
    by_image: pd.DataFrame,
    columns: Mapping[str, Any],
) -> pd.DataFrame:
    """Return score rows of all metrics of one method, one metric after the other."""
    metric, variant = (np.repeat(names, len(rows)) for names in zip(*results, strict=True))
    joined = concatenate_results([one.select(rows) for one in results.values()])
    names = {"metric": metric, "variant": variant}
    return score_table(joined, list(ids[rows]) * len(results), by_image, {**columns, **names})
