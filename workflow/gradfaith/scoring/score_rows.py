"""Between the stores and the metrics' runners: which row of a store a metric reads, and a result made score rows.

Every row of a map store meets the metrics whose target it is: a map of the predicted class goes to metrics that read
"predicted", one of the true class to those that read "true", and one that is both to both. A store is read only
beside the images, and the weights, that it was made from.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from gradfaith import registry
from gradfaith.errors import BrokenStore
from gradfaith.metrics.contract import Result
from gradfaith.storage.hdf5 import Images, Maps
from gradfaith.storage.map_info import MapInfo

Chosen = Mapping[str, tuple[ModuleType, Mapping[str, Any]]]


def chosen(room: str, uses: Mapping[str, Mapping[str, Any]]) -> Chosen:
    """label -> module and options, as the study names them."""
    return {label: (registry.load(room, use["use"]), use["options"]) for label, use in uses.items()}


def of_target(rows: pd.DataFrame, target: str) -> Any:
    """The rows of a store that explain the predicted, or the true, class: one per image."""
    return np.flatnonzero(rows["role"].isin([target, "both"]))


def every_map(maps: Maps) -> Iterator[tuple[str, MapInfo, int]]:
    return ((label, info, copy) for label, info in maps.methods.items() for copy in range(info.copies))


def frame(result: Result, ids: Sequence[str], predictions: pd.DataFrame, what: Mapping[str, Any]) -> pd.DataFrame:
    """Score rows: a result beside what it is of and what is known of its images."""
    known = predictions.drop_duplicates("image_id").set_index("image_id").loc[list(ids)]
    table = pd.DataFrame(
        {"image_id": list(ids), "value": result.value, "status": result.status, "reason": result.reason}
    )
    for name in ("group", "part", "label", "predicted", "correct"):
        table[name] = known[name].to_numpy()
    blank = {"arch2": "", "seed2": pd.NA, "variant": ""}
    return table.assign(**{**blank, **what})


def open_all(stack: ExitStack, paths: Sequence[str | Path], images: Images) -> list[Maps]:
    """Several map stores of these images, closed with the stack."""
    return [made_from(stack.enter_context(Maps(path)), images) for path in paths]


def made_from(maps: Maps, images: Images, weights_sha256: str = "") -> Maps:
    """The store, if its stamp names these images (and these weights)."""
    expected = {"images_digest": images.digest} | ({"weights_sha256": weights_sha256} if weights_sha256 else {})
    wrong = [name for name, value in expected.items() if maps.stamp.get(name) != value]
    if wrong:
        raise BrokenStore(
            found=f"{maps.path}: its stamp names other {' and '.join(wrong)} than the files beside it.",
            why="Maps of other images or weights would be scored under this study's name.",
            then=f"Delete {maps.path} and run again.",
        )
    return maps
