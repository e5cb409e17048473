"""The composites of a study: a row per map and variant, made of what other metrics say of the same map.

Always per map, never of averages: the harmonic mean of averages is another number, and a map that fails on one count would hide
behind the others. A map of which a part has no number has no composite: the status is that of its worst part, the reason
names every part that is missing. Cost: none to speak of; numpy only.
"""

from collections.abc import Mapping
from functools import reduce
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from gradfaith import registry
from gradfaith.metrics.contract import Result, Values, settle

WORST = ("failed", "degenerate", "undefined")
MAP = ["arch", "seed", "method", "copy", "target", "image_id"]  # what names one map
Made = Mapping[str, Any]  # use, options, parts (metric and variant of each), variants


def added(scores: pd.DataFrame, asked: Mapping[str, Made]) -> pd.DataFrame:
    """The scores, and after them those of every composite."""
    rows = [_rows(scores, label, made, variant) for label, made in asked.items() for variant in made["variants"]]
    return pd.concat([scores, *rows], ignore_index=True)


def _rows(scores: pd.DataFrame, label: str, made: Made, variant: str) -> pd.DataFrame:
    """One composite in one variant, of every map that any of its parts has a row of."""
    parts = {
        name: scores[(scores["metric"] == part["metric"]) & (scores["variant"] == (part["variant"] or variant))]
        for name, part in made["parts"].items()
    }
    maps = pd.concat(parts.values()).drop_duplicates(MAP).reset_index(drop=True)
    index = pd.MultiIndex.from_frame(maps[MAP])
    results = {name: _result(part.set_index(MAP).reindex(index)) for name, part in parts.items()}
    found = compose(registry.load("composite", made["use"]), results, made["options"])
    what: Mapping[str, Any] = {
        "metric": label,
        "variant": variant,
        "value": found.value,
        "status": found.status,
        "reason": found.reason,
    }
    table: pd.DataFrame = maps.assign(**what)
    return table


def _result(rows: pd.DataFrame) -> Result:
    """A part's numbers; of a map that it has no row of, none."""
    status = rows["status"].fillna("undefined").to_numpy(dtype=np.str_)
    reason = rows["reason"].fillna("it was not measured").to_numpy(dtype=np.str_)
    return Result(rows["value"].to_numpy(np.float64), status, reason)


def compose(module: ModuleType, parts: Mapping[str, Result], options: Mapping[str, Any]) -> Result:
    """A composite of some maps; the parts are in the maps' order."""
    whole = reduce(np.logical_and, (part.status == "ok" for part in parts.values()))
    values: Values = module.score({name: part.value[whole] for name, part in parts.items()}, **options)
    rest = np.zeros(len(whole), dtype=bool)
    found = settle(values, ~whole, rest)
    status, reason = found.status.astype(object), found.reason.astype(object)
    for row in np.flatnonzero(~whole):
        missing = {name: part.status[row] for name, part in parts.items() if part.status[row] != "ok"}
        status[row] = next(worst for worst in WORST if worst in missing.values())
        reason[row] = "; ".join(f"{name}: {parts[name].reason[row]}" for name in missing)
    return Result(found.value, status.astype(np.str_), reason.astype(np.str_))
