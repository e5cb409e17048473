"""Table I of the paper: how well each architecture classifies, with intervals, time and size; then class by class."""

from collections.abc import Mapping, Sequence

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting import metric_rows
from gradfaith.reporting.metric_rows import display_name
from gradfaith.reporting.tables.contract import Block, Cell, Sheet, Table, estimate_cell, interval_sentence

TABLE = Table(
    needs=("classification", "predictions"),
    section="Classification",
    place=3,
    title="Rates, time and size",
)
RATES = ("sensitivity", "specificity", "precision", "recall", "f1", "accuracy", "balanced_accuracy", "auroc")


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return Table I; `predictions` of all models give time and size and may be empty."""
    table, speed = tables["classification"], _time_and_size(tables["predictions"])
    archs = [name for name in about.architectures if name in set(table["arch"])]
    whole = [
        [
            Cell(arch),
            *_rate_cells(metric_rows.macro_average_rows(table), RATES, arch=arch),
            *(Cell(text) for text in speed.get(arch, ("-", "-"))),
        ]
        for arch in archs
    ]
    there = [metric for metric in RATES if set(table.loc[table["metric"] == metric, "class"]) & set(about.classes)]
    classes = [
        [Cell(arch), Cell(name), *_rate_cells(table, there, **{"arch": arch, "class": name})]
        for arch in archs
        for name in about.classes
    ]
    head = ["architecture", *map(display_name, RATES)]
    return Sheet(
        f"Classification, {about.title}",
        (
            f"Test images. The first table averages over the {len(about.classes)} classes.",
            interval_sentence(metric_rows.macro_average_rows(table), about),
            *about.notes,
        ),
        (
            Block("By architecture", [*head, "ms per image", "million parameters"], whole),
            Block("By class", ["architecture", "class", *map(display_name, there)], classes),
        ),
        table,
    )


def _rate_cells(table: pd.DataFrame, metrics: Sequence[str], **where: str) -> list[Cell]:
    for column, wanted in where.items():
        table = table[table[column] == wanted]
    return [estimate_cell(table[table["metric"] == metric], digits=2) for metric in metrics]


def _time_and_size(predictions: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Return milliseconds per image (median over seeds) and millions of parameters, by architecture; "-": not known."""
    if predictions.empty:
        return {}
    ms = 1000 * predictions.groupby("arch")["seconds"].median()
    size = (
        predictions.groupby("arch")["parameters"].first() / 1e6
        if "parameters" in predictions
        else pd.Series(dtype=float)
    )
    known = size[size > 0]  # a black box states none
    return {
        str(arch): (
            f"{ms[arch]:.1f}" if pd.notna(ms[arch]) else "-",
            f"{known[arch]:.2f}" if arch in known.index else "-",
        )
        for arch in ms.index
    }
