"""What a figure is: a file whose stem is its name, a `FIGURE`, and `draw`.

    FIGURE = Figure(needs=("estimates", "contrasts"))
    def draw(given: Given, *, <options>) -> matplotlib.figure.Figure

`needs` names the tables and stores it reads; the rule makes them its inputs, so that a figure is drawn again when one of
these changes, and only then. Intervals are drawn as they come: nothing is averaged here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from gradfaith.stores import Images, Maps


@dataclass(frozen=True)
class Figure:
    """`needs`: any of estimates, contrasts, classification, meta, predictions, scores, curves, manifest, splits, images, maps, audit."""

    needs: tuple[str, ...]
    limits: tuple[str, ...] = ()  # what its options must keep: "images >= 1"


@dataclass(frozen=True)
class Given:
    """What a figure may look at. A table it did not ask for is empty, a store it did not ask for is not there."""

    title: str
    classes: Sequence[str]
    architectures: Sequence[str]
    seeds: Sequence[int]
    controls: Sequence[str]
    primary: Mapping[str, str]  # metric, method, against
    level: float
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)  # predictions: with columns arch and seed
    images: Images | None = None
    maps: Mapping[tuple[str, int, str], Maps] = field(default_factory=dict)  # (arch, seed, bundle)
    audit: Mapping[str, Any] = field(default_factory=dict)  # audit.json
    settings: Mapping[str, Any] = field(default_factory=dict)
