"""Stores in, score tables out: what a scoring job does between its files and the metrics' runners.

Every row of a map store meets the metrics whose target it is: a map of the predicted class goes to metrics that read
"predicted", one of the true class to those that read "true", and one that is both to both.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from gradfaith import registry
from gradfaith.metrics.agree import Stacks, agree
from gradfaith.metrics.contract import Result
from gradfaith.metrics.evaluated import evaluate
from gradfaith.metrics.localize import localize
from gradfaith.stores import Images, MapInfo, Maps

Chosen = Mapping[str, tuple[ModuleType, Mapping[str, Any]]]
REGIONS = ("evidence", "shortcut")


def chosen(room: str, uses: Mapping[str, Mapping[str, Any]]) -> Chosen:
    """label -> module and options, as the study names them."""
    return {label: (registry.load(room, use["use"]), use["options"]) for label, use in uses.items()}


def localization(
    images: Images, stores: Sequence[Maps], predictions: pd.DataFrame, metrics: Chosen, model: Mapping[str, Any]
) -> pd.DataFrame:
    """Localization scores of all methods of one model."""
    frames = []
    for maps in stores:
        for target in ("predicted", "true"):
            wanted = {label: use for label, use in metrics.items() if use[0].METRIC.target == target}
            rows = of_target(maps.rows, target)
            if not wanted or not len(rows):
                continue
            ids = list(maps.rows["image_id"].iloc[rows])
            regions = {region: images.mask(region, ids)[0] for region in REGIONS if region in images.regions}
            for label, info, copy in every_map(maps):
                found = localize(
                    maps.maps(label, copy)[rows], grid=info.grid, signed=info.signed, size=images.size, regions=regions, metrics=wanted
                )  # fmt: skip
                for metric, result in found.items():
                    what = {
                        **model,
                        "method": label,
                        "copy": copy,
                        "layer": info.layer,
                        "target": target,
                        "metric": metric,
                    }
                    frames.append(frame(result, ids, predictions, what))
    return pd.concat(frames, ignore_index=True)


def agreement(
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
            stacks = _stacks(cells, label, info, ids, known, images.size)
            for pair in agree(stacks, metrics, key=(seed, "agreement")):
                what = {
                    **model, "seed": pair.seed, "arch2": model["arch"], "seed2": pair.seed2, "method": label, "copy": copy,
                    "layer": info.layer, "target": "true", "metric": pair.metric, "variant": pair.variant,
                }  # fmt: skip
                frames.append(frame(pair.result, ids, predictions, what))
    return pd.concat(frames, ignore_index=True)


def _stacks(
    cells: Mapping[int, Maps], label: str, info: MapInfo, ids: Sequence[str], known: pd.DataFrame, size: Any
) -> Stacks:
    evaluated = []
    for maps in cells.values():
        rows = of_target(maps.rows, "true")
        place = {image: row for row, image in zip(rows, maps.rows["image_id"].iloc[rows], strict=True)}
        own = maps.maps(label, 0)[[place[image] for image in ids]]
        evaluated.append(evaluate(own, grid=info.grid, signed=info.signed, size=tuple(size)))
    unit, degenerate, broken = (np.stack(parts) for parts in zip(*evaluated, strict=True))
    about = known.loc[list(ids)]
    return Stacks(unit, degenerate, broken, list(cells), list(ids), list(about["group"]), list(about["label"]))


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


def open_all(stack: ExitStack, paths: Sequence[str]) -> list[Maps]:
    """Several map stores, closed with the stack."""
    return [stack.enter_context(Maps(path)) for path in paths]
