"""Opens what a figure needs, from the files its rule was given: the only file of this room that reads any.

Which model a store of maps belongs to is read off the end of its path, <arch>/seed-<s>/<bundle>.h5, as layout.py writes it.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd

from gradfaith import stores, tables
from gradfaith.figures.contract import Given

SCHEMAS: Mapping[str, tables.Schema] = {
    "estimates": tables.ESTIMATES,
    "contrasts": tables.CONTRASTS,
    "classification": tables.CLASSIFICATION,
    "meta": tables.META,
    "curves": tables.CURVES,
    "scores": tables.SCORES,
    "manifest": tables.MANIFEST,
    "splits": tables.SPLITS,
}
EMPTY = (*SCHEMAS, "predictions")


def given(stack: ExitStack, inputs: Mapping[str, Any], about: Mapping[str, Any]) -> Given:
    """What a figure may look at; stores stay open as long as the stack."""
    found = {name: pd.DataFrame() for name in EMPTY}
    found |= {name: tables.read(inputs[name], schema) for name, schema in SCHEMAS.items() if name in inputs}
    if "predictions" in inputs:
        found["predictions"] = tables.read_models(_several(inputs["predictions"]), tables.PREDICTIONS)
    return Given(
        title=about["title"],
        classes=about["classes"],
        architectures=about["architectures"],
        seeds=about["seeds"],
        controls=about["controls"],
        primary=about["primary"],
        level=about["level"],
        tables=found,
        images=stack.enter_context(stores.Images(inputs["images"])) if "images" in inputs else None,
        maps={cell(path): stack.enter_context(stores.Maps(path)) for path in _several(inputs.get("maps", ()))},
        audit=json.loads(Path(inputs["audit"]).read_text()) if "audit" in inputs else {},
        settings=about,
    )


def cell(path: str) -> tuple[str, int, str]:
    """Architecture, seed and bundle of a map store."""
    model = Path(path).parent
    return model.parent.name, int(model.name.removeprefix("seed-")), Path(path).stem


def _several(paths: str | Sequence[str]) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)
