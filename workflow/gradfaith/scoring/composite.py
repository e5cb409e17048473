"""Score the composites of a study: a row per map and variant, from other metrics' scores of the same map.

Always per map, never of averages: the harmonic mean of averages is another number, and a map that is poor in
one part would hide behind the others. If a part has no number for a map, the composite has none: its status
is that of its worst part, and its reason names every missing part. Cost: negligible; numpy only.
"""

from collections.abc import Mapping
from functools import reduce
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from gradfaith import registry
from gradfaith.metrics.contract import Result, Values, assign_status
from gradfaith.vocabulary import NOT_OK

WORST_FIRST = NOT_OK[::-1]
MAP_KEY = ["arch", "seed", "method", "copy", "target", "image_id"]  # the columns that identify one map
CompositeSettings = Mapping[str, Any]  # use, options, parts (metric and variant of each), variants


def add_composites(scores: pd.DataFrame, composites: Mapping[str, CompositeSettings]) -> pd.DataFrame:
    """Return the scores followed by the score rows of every composite; `composites`: by the study's label."""
    tables = [
        _composite_rows(scores, label, settings, variant)
        for label, settings in composites.items()
        for variant in settings["variants"]
    ]
    return pd.concat([scores, *tables], ignore_index=True)


def _composite_rows(scores: pd.DataFrame, label: str, settings: CompositeSettings, variant: str) -> pd.DataFrame:
    """Return one composite in one variant, for every map of which any of its parts has a row."""
    parts = {
        name: scores[(scores["metric"] == part["metric"]) & (scores["variant"] == (part["variant"] or variant))]
        for name, part in settings["parts"].items()
    }
    maps = pd.concat(parts.values()).drop_duplicates(MAP_KEY).reset_index(drop=True)
    index = pd.MultiIndex.from_frame(maps[MAP_KEY])
    results = {name: _result(part.set_index(MAP_KEY).reindex(index)) for name, part in parts.items()}
    composite = score_composite(registry.load("composite", settings["use"]), results, settings["options"])
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
    """Return a part's result; "undefined" for maps of which it has no row."""
    status = rows["status"].fillna("undefined").to_numpy(dtype=np.str_)
    reason = rows["reason"].fillna("it was not measured").to_numpy(dtype=np.str_)
    return Result(rows["value"].to_numpy(np.float64), status, reason)


def score_composite(module: ModuleType, parts: Mapping[str, Result], options: Mapping[str, Any]) -> Result:
    """Return a composite of some maps; the parts are in the maps' order."""
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
