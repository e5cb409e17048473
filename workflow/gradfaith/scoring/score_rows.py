"""Connect map stores with the metrics' runners: choose the rows that a metric reads, and make score rows of its results.

A metric reads the maps of its target class: the rows of role "predicted" go to metrics that read the
predicted class, those of role "true" to metrics that read the true class, those of role "both" to both.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gradfaith import registry
from gradfaith.config.study import PluginUse
from gradfaith.metrics.contract import BoundPlugins, Result, concatenate_results
from gradfaith.storage.hdf5 import MapStore
from gradfaith.storage.map_info import MapInfo
from gradfaith.vocabulary import CONTRAST_ROLES

ModelKey = tuple[str, int]  # architecture and seed


class MethodCopy(NamedTuple):
    """One stack of maps in a store."""

    label: str
    info: MapInfo
    copy: int  # the number of a shuffled copy; else 0


def load_plugins(group: str, uses: Mapping[str, PluginUse]) -> BoundPlugins:
    """Load the metrics or imputers that a study names; the result uses the study's labels."""
    return {label: (registry.load(group, use.use), use.options) for label, use in uses.items()}


def rows_of_target(rows: pd.DataFrame, target: str) -> Any:
    """Return the rows of a store that explain the "predicted" class, the "true" one, or a contrast class: one per image."""
    return np.flatnonzero(rows["role"].isin([target] if target in CONTRAST_ROLES else [target, "both"]))


def method_copies(maps: MapStore) -> Iterator[MethodCopy]:
    """Yield every method of a store, and every copy of a shuffled one."""
    return (MethodCopy(label, info, copy) for label, info in maps.methods.items() for copy in range(info.copies))


def index_by_image(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the predictions, indexed by image; with several models, the first one's."""
    return predictions.drop_duplicates("image_id").set_index("image_id")


def score_table(result: Result, ids: Sequence[str], by_image: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Return score rows: a result with its image ids, the columns of the predictions, and further columns.

    `by_image`: the predictions from `index_by_image`.
    """
    known = by_image.loc[list(ids)]
    table = pd.DataFrame(
        {"image_id": list(ids), "value": result.value, "status": result.status, "reason": result.reason}
    )
    for name in ("group", "part", "label", "predicted", "correct"):
        table[name] = known[name].to_numpy()
    blank = {"arch2": "", "seed2": pd.NA, "variant": ""}
    return table.assign(**{**blank, **columns})


class ScoredMaps(NamedTuple):
    """One metric's result for some maps of one method."""

    method: str
    copy: int
    layer: str
    metric: str
    variant: str
    result: Result


def join_score_table(
    scored: Sequence[ScoredMaps], ids: Sequence[str], by_image: pd.DataFrame, columns: Mapping[str, Any]
) -> pd.DataFrame:
    """Return the score rows of several results for the same images in one table, one result after the other."""
    *names, results = zip(*scored, strict=True)
    repeated = {
        name: np.repeat(np.array(values, dtype=object), len(ids))
        for name, values in zip(ScoredMaps._fields, names, strict=False)
    }
    return score_table(concatenate_results(results), list(ids) * len(scored), by_image, {**columns, **repeated})


def open_map_stores(stack: ExitStack, paths: Sequence[str | Path]) -> list[MapStore]:
    """Open map stores; the stack closes them."""
    return [stack.enter_context(MapStore(path)) for path in paths]


def stores_by_model(stores: Iterable[MapStore]) -> dict[ModelKey, dict[str, MapStore]]:
    """Return model -> bundle -> store, by the identity of each store, with models in the order of the stores."""
    models: dict[ModelKey, dict[str, MapStore]] = {}
    for store in stores:
        assert store.identity.seed is not None  # a map store belongs to one model
        models.setdefault((store.identity.arch, store.identity.seed), {})[store.identity.bundle] = store
    return models
