"""Define what a figure is, and open the tables and stores that it needs.

    FIGURE = Figure(needs=("estimates", "contrasts"))
    def draw(inputs: FigureInputs, *, <options>) -> matplotlib.figure.Figure

A figure is one file; its stem is the figure's name. `needs` lists the tables and stores that it reads. They are the rule's
inputs, so a figure is drawn again only if one of them changes. Intervals are drawn as they are: nothing is averaged here.

No other module of figures/ opens files. Each map store states its model itself.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from gradfaith.config.result_settings import PrimaryContrast, StudyDescription
from gradfaith.stats.estimates import SCORE_COLUMNS
from gradfaith.storage import hdf5, json_file, parquet
from gradfaith.storage.hdf5 import ImageStore, MapStore
from gradfaith.storage.table_parts import TableParts

MetricBounds = tuple[float | None, float | None]


@dataclass(frozen=True)
class Figure:
    """The declaration of a figure.

    `needs`: any of TABLE_NAMES, curves, images, maps; histories need cards, which name the model and the selected epoch.
    `section`, `place`, `title`: where it stands in the report (dag/report_items.py has the sections), and its name there.
    """

    needs: tuple[str, ...]
    section: str = "Other results"
    place: int = 99
    title: str = ""
    limits: tuple[str, ...] = ()  # conditions on its options: "images >= 1"


class MapStoreKey(NamedTuple):
    """The cell of a map store."""

    arch: str
    seed: int
    bundle: str


@dataclass(frozen=True)
class FigureInputs:
    """The inputs of a figure. A table that it does not need is empty; a store that it does not need is missing."""

    title: str
    classes: Sequence[str]
    architectures: Sequence[str]
    seeds: Sequence[int]
    controls: Sequence[str]
    primary: PrimaryContrast
    metrics: Mapping[str, str]  # label -> name of the plug-in
    level: float  # of intervals
    min_groups: int  # below so many there is no interval
    better: Mapping[str, str] = field(default_factory=dict)  # label -> higher, lower or neither
    bounds: Mapping[str, MetricBounds] = field(default_factory=dict)  # label -> the declared range; None: unbounded
    # predictions and histories: with columns arch and seed; audit, verdict: one row, a column per key of the JSON file
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    images: ImageStore | None = None
    maps: Mapping[MapStoreKey, MapStore] = field(default_factory=dict)
    audit: Mapping[str, Any] = field(default_factory=dict)  # audit.json
    curves: TableParts | None = None  # of the test part, by the columns of CURVE

    def range_of(self, metric: str) -> tuple[float, float]:
        """Return the range of a metric, which its axis does not leave; infinite where it is unbounded."""
        low, high = self.bounds.get(metric, (None, None))
        return -inf if low is None else low, inf if high is None else high


SCHEMAS: Mapping[str, parquet.Schema] = {
    "estimates": parquet.ESTIMATES,
    "contrasts": parquet.CONTRASTS,
    "ranks": parquet.RANKS,
    "classification": parquet.CLASSIFICATION,
    "meta": parquet.META,
    "claims": parquet.CLAIMS,
    "manifest": parquet.MANIFEST,
    "splits": parquet.SPLITS,
    "table": parquet.TABLE,
}
PER_MODEL: Mapping[str, parquet.Schema] = {"attributions": parquet.ATTRIBUTIONS, "boundary": parquet.BOUNDARY}
TABLE_NAMES = (*SCHEMAS, "scores", "predictions", "audit", "histories", "cards", "verdict", *PER_MODEL)
CURVE = ("arch", "method", "imputer")
CURVE_COLUMNS = (*CURVE, "seed", "image_id", "group", "order", "fraction", "probability")


def open_inputs(stack: ExitStack, inputs: Mapping[str, Any], about: StudyDescription) -> FigureInputs:
    """Read the tables and open the stores among `inputs` (name -> path or paths); `stack` closes the stores."""
    tables = {name: pd.DataFrame() for name in TABLE_NAMES}
    tables |= {name: parquet.read(inputs[name], schema) for name, schema in SCHEMAS.items() if name in inputs}
    if "scores" in inputs:  # the largest table: the columns that figures read, texts as categories
        tables["scores"] = parquet.read_columns(inputs["scores"], parquet.SCORES, SCORE_COLUMNS)
    if "predictions" in inputs:
        tables["predictions"] = parquet.read_per_model(_as_list(inputs["predictions"]), parquet.PREDICTIONS)
    for name in inputs.keys() & PER_MODEL.keys():
        tables[name] = parquet.read_per_model(_as_list(inputs[name]), PER_MODEL[name])
    if "histories" in inputs:
        tables["histories"] = _read_histories(_as_list(inputs["histories"]), _as_list(inputs["cards"]))
    if "cards" in inputs:
        tables["cards"] = _read_losses(_as_list(inputs["cards"]))
    audit = json_file.read(inputs["audit"]) if "audit" in inputs else {}
    tables["audit"] = pd.DataFrame([audit])
    if inputs.get("verdict"):  # empty: the study has no verdict
        tables["verdict"] = pd.DataFrame([json_file.read(inputs["verdict"])])
    map_stores = [stack.enter_context(hdf5.MapStore(path)) for path in _as_list(inputs.get("maps", ()))]
    return FigureInputs(
        title=about.title,
        classes=about.classes,
        architectures=about.architectures,
        seeds=about.seeds,
        controls=about.controls,
        primary=about.primary,
        metrics=about.metrics,
        level=about.level,
        min_groups=about.min_groups,
        better=about.better,
        bounds=about.bounds,
        tables=tables,
        images=stack.enter_context(hdf5.ImageStore(inputs["images"])) if "images" in inputs else None,
        maps={key_of_store(store): store for store in map_stores},
        audit=audit,
        curves=_curves(inputs["curves"]) if "curves" in inputs else None,
    )


def _curves(path: str) -> TableParts:
    """Return a table that has a row per image and point of a curve; few curves are in memory at once."""
    return TableParts.of(path, parquet.CURVES, CURVE_COLUMNS, by=CURVE, where={"part": "test"})


def key_of_store(store: MapStore) -> MapStoreKey:
    """Return architecture, seed and bundle of a map store, from its own identity."""
    assert store.identity.seed is not None  # a map store belongs to one model
    return MapStoreKey(store.identity.arch, store.identity.seed, store.identity.bundle)


def _read_histories(histories: Sequence[str], cards: Sequence[str]) -> pd.DataFrame:
    """Return the epochs of every training with arch, seed and `selected`, as the card in the same folder says."""
    of_folder = {Path(path).parent: json_file.read(path) for path in cards}
    tables = []
    for path in histories:
        card, table = of_folder[Path(path).parent], pd.read_csv(path)
        tables.append(table.assign(arch=card["arch"], seed=card["seed"], selected=table["epoch"] == card["best_epoch"]))
    return pd.concat(tables, ignore_index=True)


def _read_losses(cards: Sequence[str]) -> pd.DataFrame:
    """Return the losses that models with a decoder have in their cards: a row per model and part of the split."""
    rows = [
        {"arch": card["arch"], "seed": card["seed"], **card["spec"]["decoder"], "part": part, **losses}
        for card in map(json_file.read, cards)
        for part, losses in card.get("losses", {}).items()
    ]
    return pd.DataFrame(rows)


def _as_list(paths: str | Sequence[str]) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)
