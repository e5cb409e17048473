"""Composites: one number per map, made of what other metrics say of the same map.

    harmonic mean of n terms = n / (1/t1 + ... + 1/tn),  0 where a term is 0, its limit

Always per map, never of averages: the harmonic mean of averages is another number, and a map that fails on one count would hide
behind the others. A map of which a part has no number has no composite: the status is that of its worst part, the reason
names every part that is missing. Cost: none to speak of; numpy only.
"""

from collections.abc import Mapping
from functools import reduce
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith.metrics.contract import Result, Values, settle

Numbers = NDArray[np.float64]
WORST = ("failed", "degenerate", "undefined")


def harmonic(*terms: Numbers) -> Numbers:  # each (m,)
    """The harmonic mean; a term that is 0 or below makes it 0."""
    whole = np.stack(terms)
    lost = (whole <= 0).any(axis=0)
    mean: Numbers = np.where(lost, 0.0, len(terms) / (1 / np.where(lost, 1.0, whole)).sum(axis=0))
    return mean


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
