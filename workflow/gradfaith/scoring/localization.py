"""Score the localization of one model's maps, from its stored maps and the masks of the images.

Images come in chunks. Every method of a store is scored on a chunk, and its rows are passed on, before the next chunk is
read. So results for a mask are computed once for all methods, and memory does not grow with the number of images. Maps of
the predicted and of the true class are scored alike; the target of a metric decides which rows are kept.

Finer maps hit small evidence better. So architectures are compared on a common grid: every map of a method is averaged to the
coarsest grid that the method has on any model (metrics/maps/rank_correlation.py), and scored as a map of that grid. These scores
have the variant `common-grid`, before the variant that they have without it. Cost: that of all rules `localization` together.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from gradfaith.metrics.contract import BoundPlugins
from gradfaith.metrics.maps.located import Region
from gradfaith.metrics.maps.rank_correlation import GridShape, coarsest_shape, regrid
from gradfaith.metrics.runners.localization import localize
from gradfaith.scoring.score_rows import (
    ModelKey,
    ScoredMaps,
    index_by_image,
    join_score_table,
    method_copies,
    rows_of_target,
)
from gradfaith.storage.hdf5 import ImageStore, MapStore
from gradfaith.vocabulary import COMMON_GRID

CHUNK = 64  # images at once


def score_localization(
    images: ImageStore,
    stores: Sequence[MapStore],
    predictions: pd.DataFrame,
    metrics: BoundPlugins,
    model: Mapping[str, Any],
    chunk: int = CHUNK,
    common: Mapping[str, GridShape] | None = None,
) -> Iterator[pd.DataFrame]:
    """Yield the localization scores of all methods of one model, some maps at a time; `model`: its columns arch and seed.

    `common`: method -> a grid to which its maps are averaged; other methods are left out.
    """
    by_image = index_by_image(predictions)
    for maps in stores:
        of_target = {target: rows_of_target(maps.rows, target) for target in ("predicted", "true")}
        for start in range(0, len(maps.rows), chunk):
            some = slice(start, min(start + chunk, len(maps.rows)))
            ids, found = maps.rows["image_id"].to_numpy()[some], list(_score_maps(images, maps, metrics, some, common))
            for target, rows in of_target.items():
                kept = rows[(rows >= some.start) & (rows < some.stop)] - some.start
                own = [
                    one._replace(result=one.result.select(kept))
                    for one in found
                    if metrics[one.metric][0].METRIC.target == target
                ]
                if own and len(kept):
                    yield join_score_table(own, list(ids[kept]), by_image, {**model, "target": target})


def score_on_common_grid(
    images: ImageStore,
    stores: Mapping[ModelKey, Mapping[str, MapStore]],
    predictions: pd.DataFrame,
    metrics: BoundPlugins,
) -> Iterator[pd.DataFrame]:
    """Yield the localization scores of the methods that several architectures have, on the coarsest grid of each method.

    `stores`: model -> bundle -> store; `predictions`: of all models, with the columns arch and seed.
    """
    shapes: dict[str, dict[str, list[GridShape]]] = {}  # method -> architecture -> grids
    for (arch, _), own in stores.items():
        for maps in own.values():
            for label in maps.methods:
                shapes.setdefault(label, {}).setdefault(arch, []).append(maps.cells(label))
    common = {
        label: coarsest_shape(shape for of_arch in found.values() for shape in of_arch)
        for label, found in shapes.items()
        if len(found) > 1
    }
    for (arch, seed), own in stores.items():
        answers = predictions[(predictions["arch"] == arch) & (predictions["seed"] == seed)]
        model = {"arch": arch, "seed": seed}
        yield from score_localization(images, list(own.values()), answers, metrics, model, common=common)


def _score_maps(
    images: ImageStore,
    maps: MapStore,
    metrics: BoundPlugins,
    rows: slice,
    common: Mapping[str, GridShape] | None,
) -> Iterator[ScoredMaps]:
    """Yield the results of every method and copy of a store for some rows."""
    ids, wanted = list(maps.rows["image_id"].iloc[rows]), {module.METRIC.region for module, _ in metrics.values()}
    regions = {name: Region(images.mask(name, ids)[0]) for name in images.regions if name in wanted}
    for label, info, copy in method_copies(maps):
        if common is not None and label not in common:
            continue
        raw = maps.maps(label, copy, rows)
        raw = raw if common is None else regrid(raw, common[label])
        how: dict[str, Any] = {
            "grid": info.grid,
            "signed": info.signed,
            "reading": info.reading,
            "size": images.size,
        }
        results = localize(raw, regions=regions, metrics=metrics, **how)
        for (metric, variant), result in results.items():
            name = variant if common is None else f"{COMMON_GRID} {variant}".rstrip()
            yield ScoredMaps(label, copy, info.layer, metric, name, result)
