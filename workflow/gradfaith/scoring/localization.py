"""Score the localization of one model's maps: one table of score rows from its stored maps and the masks of
the images.

Images come in chunks, and every method of a store is scored on a chunk before the next chunk is read: what is
computed of a mask is computed once for all methods, and memory does not grow with the images. Maps of the
predicted and of the true class are scored alike; the target of a metric decides which rows are kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.metrics.contract import BoundPlugins, Result, concatenate_results
from gradfaith.metrics.maps.located import Region
from gradfaith.metrics.runners.localization import localize
from gradfaith.scoring.score_rows import MethodCopy, method_copies, rows_of_target, score_table
from gradfaith.storage.hdf5 import ImageStore, MapStore

CHUNK = 64  # images at once
ResultsByVariant = dict[tuple[str, str], Result]  # by metric and variant


def score_localization(
    images: ImageStore,
    stores: Sequence[MapStore],
    predictions: pd.DataFrame,
    metrics: BoundPlugins,
    model: Mapping[str, Any],
    chunk: int = CHUNK,
) -> pd.DataFrame:
    """Return the localization scores of all methods of one model; `model`: its columns, arch and seed."""
    tables = []
    for maps in stores:
        ids = maps.rows["image_id"].to_numpy()
        for (label, info, copy), results in _score_store(images, maps, metrics, chunk):
            columns = {**model, "method": label, "copy": copy, "layer": info.layer}
            for target in ("predicted", "true"):
                own = {key: results[key] for key in results if metrics[key[0]][0].METRIC.target == target}
                rows = rows_of_target(maps.rows, target)
                if own and len(rows):
                    tables.append(_method_table(own, rows, ids, predictions, columns | {"target": target}))
    return pd.concat(tables, ignore_index=True)


def _score_store(
    images: ImageStore, maps: MapStore, metrics: BoundPlugins, chunk: int
) -> Iterator[tuple[MethodCopy, ResultsByVariant]]:
    """Yield every method and copy of a store with its results, in the store's order of maps."""
    ids, wanted = list(maps.rows["image_id"]), {module.METRIC.region for module, _ in metrics.values()}
    methods = list(method_copies(maps))
    parts: list[list[ResultsByVariant]] = [[] for _ in methods]
    for start in range(0, len(ids), chunk):
        rows = slice(start, start + chunk)
        regions = {name: Region(images.mask(name, ids[rows])[0]) for name in images.regions if name in wanted}
        for (label, info, copy), part in zip(methods, parts, strict=True):
            raw = maps.maps(label, copy, rows)
            part.append(
                localize(raw, grid=info.grid, signed=info.signed, size=images.size, regions=regions, metrics=metrics)
            )
    for method, part in zip(methods, parts, strict=True):
        yield method, {key: concatenate_results([results[key] for results in part]) for key in part[0]}


def _method_table(
    results: ResultsByVariant,
    rows: NDArray[np.int64],
    ids: NDArray[Any],
    predictions: pd.DataFrame,
    columns: Mapping[str, Any],
) -> pd.DataFrame:
    """Return score rows of all metrics of one method, one metric after the other."""
    metric, variant = (np.repeat(names, len(rows)) for names in zip(*results, strict=True))
    joined = concatenate_results([one.select(rows) for one in results.values()])
    names = {"metric": metric, "variant": variant}
    return score_table(joined, list(ids[rows]) * len(results), predictions, {**columns, **names})
