"""Merge the score tables of a study, and score its composites: a row per map and variant, from other metrics' scores of the
same map.

Composites are computed per map, never from averages: the harmonic mean of averages is another number, and would hide maps
that are poor in one part. If a part has no value for a map, the composite has none: its status is that of its worst part,
and its reason names every missing part.

Tables are read group by group, so memory does not grow with the number of images. The parts of a composite are faithfulness
metrics. They may belong to several batteries, whose tables are read a second time, side by side: tables of one model and
bundle have the same images in the same order. Cost: negligible; numpy only.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from gradfaith import registry
from gradfaith.config.job_settings import CompositeSettings
from gradfaith.metrics.contract import Result, Values, assign_status
from gradfaith.storage.identity import Identity
from gradfaith.storage.parquet import SCORES, empty, read_groups
from gradfaith.vocabulary import NOT_OK

WORST_FIRST = NOT_OK[::-1]
MAP_KEY = ["arch", "seed", "method", "copy", "target", "image_id"]  # the columns that identify one map


def merge_tables(tables: Sequence[str], composites: Mapping[str, CompositeSettings]) -> Iterator[pd.DataFrame]:
    """Yield the rows of all score tables, one table after the other, then those of the composites; `composites`: by label."""
    for path in tables:
        yield from read_groups(path, SCORES)
    wanted = {part.metric for settings in composites.values() for part in settings.parts.values()}
    cells: dict[tuple[object, ...], list[Iterator[pd.DataFrame]]] = {}
    for path, place in ((path, Identity.of_place(path)) for path in tables if wanted):
        if place.kind == "faithfulness":
            rows = (table[table["metric"].isin(wanted)] for table in read_groups(path, SCORES))
            cells.setdefault((place.arch, place.seed, place.bundle), []).append(rows)
    for batteries in cells.values():
        for scores in _align_images(batteries):
            yield from score_composites(scores, composites)


def _align_images(tables: Sequence[Iterator[pd.DataFrame]]) -> Iterator[pd.DataFrame]:
    """Yield the rows of several tables together, all rows of an image and target at once.

    No image is in two groups of a table, because `parquet.writing` writes each added frame in one group. Tables with their images in
    different orders give the same rows, but more rows wait in memory.
    """
    reading, seen = dict(enumerate(tables)), [set[object]() for _ in tables]
    waiting = empty(SCORES)
    while reading:
        behind = min(reading, key=lambda table: len(seen[table]))
        rows = next(reading[behind], None)
        if rows is None:
            del reading[behind]
        elif len(rows):
            waiting = pd.concat([waiting, rows], ignore_index=True) if len(waiting) else rows
            seen[behind].update(_images(rows).unique())
        images = _images(waiting)
        complete = set(images.unique()).intersection(*(seen[table] for table in reading))
        if complete:
            is_complete = images.isin(complete)
            yield waiting[is_complete].reset_index(drop=True)
            waiting = waiting[~is_complete]
            for images_of_table in seen:
                images_of_table.difference_update(complete)


def _images(rows: pd.DataFrame) -> pd.Series:
    """Return a key of the image and the target of each row."""
    return rows["target"] + "/" + rows["image_id"]


def score_composites(scores: pd.DataFrame, composites: Mapping[str, CompositeSettings]) -> Iterator[pd.DataFrame]:
    """Yield the score rows of every composite and variant, from all scores of some images."""
    for label, settings in composites.items():
        for variant in settings.variants:
            yield _composite_rows(scores, label, settings, variant)


def _composite_rows(scores: pd.DataFrame, label: str, settings: CompositeSettings, variant: str) -> pd.DataFrame:
    """Return one composite in one variant, for every map for which any of its parts has a row."""
    parts = {
        name: scores[(scores["metric"] == part.metric) & (scores["variant"] == (part.variant or variant))]
        for name, part in settings.parts.items()
    }
    maps = pd.concat(parts.values()).drop_duplicates(MAP_KEY).reset_index(drop=True)
    index = pd.MultiIndex.from_frame(maps[MAP_KEY])
    results = {name: _result(part.set_index(MAP_KEY).reindex(index)) for name, part in parts.items()}
    composite = score_composite(registry.load("composite", settings.use), results, settings.options)
    columns: Mapping[str, Any] = {
        "metric": label,
        "variant": variant,
        "value": composite.value,
        "status": composite.status,
        "reason": composite.reason,
    }
    table: pd.DataFrame = maps.assign(**columns)
    return table


def _result(rows: pd.DataFrame) -> Result:
    """Return a part's result; "undefined" for maps without a row."""
    status = rows["status"].fillna("undefined").to_numpy(dtype=np.str_)
    reason = rows["reason"].fillna("it was not measured").to_numpy(dtype=np.str_)
    return Result(rows["value"].to_numpy(np.float64), status, reason)


def score_composite(module: ModuleType, parts: Mapping[str, Result], options: Mapping[str, Any]) -> Result:
    """Return a composite for some maps; the parts are in the maps' order."""
    complete = reduce(np.logical_and, (part.status == "ok" for part in parts.values()))
    values: Values = module.score({name: part.value[complete] for name, part in parts.items()}, **options)
    none_broken = np.zeros(len(complete), dtype=bool)
    scored = assign_status(values, ~complete, none_broken)
    status, reason = scored.status.astype(object), scored.reason.astype(object)
    for row in np.flatnonzero(~complete):
        missing = {name: part.status[row] for name, part in parts.items() if part.status[row] != "ok"}
        status[row] = next(worst for worst in WORST_FIRST if worst in missing.values())
        reason[row] = "; ".join(f"{name}: {parts[name].reason[row]}" for name in missing)
    return Result(scored.value, status.astype(np.str_), reason.astype(np.str_))
