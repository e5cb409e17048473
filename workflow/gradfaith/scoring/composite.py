"""The composites of a study, from its scores: a row per map and variant, joined map by map, never of averages."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from gradfaith import registry
from gradfaith.metrics.contract import Result
from gradfaith.metrics.runners.composite import compose

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
