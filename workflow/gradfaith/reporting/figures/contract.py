"""What a figure is: a file whose stem is its name, a `FIGURE`, and `draw`.

    FIGURE = Figure(needs=("estimates", "contrasts"))
    def draw(given: Given, *, <options>) -> matplotlib.figure.Figure

`needs` names the tables and stores it reads; the rule makes them its inputs, so that a figure is drawn again when one of
these changes, and only then. Intervals are drawn as they come: nothing is averaged here.

Opens what a figure needs, from the files its rule was given: the only file of this room that reads any.

Which model a store of maps belongs to is read off the end of its path, <arch>/seed-<s>/<bundle>.h5, as storage/paths.py writes it.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from gradfaith.storage import hdf5, parquet
from gradfaith.storage.hdf5 import Images, Maps


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


SCHEMAS: Mapping[str, parquet.Schema] = {
    "estimates": parquet.ESTIMATES,
    "contrasts": parquet.CONTRASTS,
    "classification": parquet.CLASSIFICATION,
    "meta": parquet.META,
    "curves": parquet.CURVES,
    "scores": parquet.SCORES,
    "manifest": parquet.MANIFEST,
    "splits": parquet.SPLITS,
}
EMPTY = (*SCHEMAS, "predictions")


def given(stack: ExitStack, inputs: Mapping[str, Any], about: Mapping[str, Any]) -> Given:
    """What a figure may look at; stores stay open as long as the stack."""
    found = {name: pd.DataFrame() for name in EMPTY}
    found |= {name: parquet.read(inputs[name], schema) for name, schema in SCHEMAS.items() if name in inputs}
    if "predictions" in inputs:
        found["predictions"] = parquet.read_models(_several(inputs["predictions"]), parquet.PREDICTIONS)
    return Given(
        title=about["title"],
        classes=about["classes"],
        architectures=about["architectures"],
        seeds=about["seeds"],
        controls=about["controls"],
        primary=about["primary"],
        level=about["level"],
        tables=found,
        images=stack.enter_context(hdf5.Images(inputs["images"])) if "images" in inputs else None,
        maps={cell(path): stack.enter_context(hdf5.Maps(path)) for path in _several(inputs.get("maps", ()))},
        audit=json.loads(Path(inputs["audit"]).read_text()) if "audit" in inputs else {},
        settings=about,
    )


def cell(path: str) -> tuple[str, int, str]:
    """Architecture, seed and bundle of a map store."""
    model = Path(path).parent
    return model.parent.name, int(model.name.removeprefix("seed-")), Path(path).stem


def _several(paths: str | Sequence[str]) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)
