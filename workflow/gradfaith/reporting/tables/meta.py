"""The meta-evaluation as a table: which metrics rank methods as the evidence does, and which of them controls fool.

Numbers come from stats/rank_agreement.py and stats/meta_evaluation.py. Metrics stand in the order in which they rank methods
within an image, over all architectures. Primary variants come first, the others in a block of their own; the CSV holds
every row.
"""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting import metric_rows
from gradfaith.reporting.metric_rows import display_label, metrics_by_rank_agreement
from gradfaith.reporting.tables.contract import Block, Cell, Sheet, Table, estimate_cell, interval_sentence
from gradfaith.stats.estimates import MetricVariant

TABLE = Table(
    needs=("meta",),
    study_key="meta",
    section="Evaluation of the metrics",
    place=2,
    title="Metrics compared with the evidence",
)
WHAT = (
    "Each metric is compared with a localization metric, the truth, by how it ranks the methods. The images have evidence, and the "
    "model classifies them correctly. Within an image: the correlation over methods, averaged over images. Over cells: the "
    "correlation of means, one for each method and model. The correlation over methods and controls together mostly shows that "
    "the two differ. Metrics of which lower is better are negated."
)
FOOLED = (
    "A control fools a metric if it scores above the median method of the images, or above the best method, with an interval above 0. "
    "All images count, with evidence or without. The intervals are not adjusted for their number."
)
ORDER = "Order only: the metric reads only the order of the values in a map."
VIEWS = {"image": "within an image", "cells": "over cells"}


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return a block per view of each truth, then what controls score."""
    table = tables["meta"]
    truths = [name for name in dict.fromkeys(table["truth"]) if name]
    whole = table[table["arch"] == ""]
    blocks = [block for truth in truths for block in _of_truth(table, truth, about)]
    controls = whole[whole["view"] == "controls"]
    neither = [display_label(name, about.metrics) for name, end in about.better.items() if end == "neither"]
    left = [f"Not evaluated, because neither high nor low is better: {', '.join(neither)}."] if neither else []
    ranked = whole[(whole["view"] == "image") & (whole["truth"] == truths[0])]
    lead = (WHAT, FOOLED, ORDER, *left, interval_sentence(ranked, about), _wrong(ranked), *about.notes)
    first = metrics_by_rank_agreement(table, truths[0])
    return Sheet(
        f"Evaluation of the metrics, {about.title}",
        lead,
        (*blocks, _fooled(controls, first, about.metrics), _gains(controls, first, about.metrics)),
        table,
    )


def _of_truth(table: pd.DataFrame, truth: str, about: StudyDescription) -> Iterator[Block]:
    own, metrics = table[table["truth"] == truth], about.metrics
    name = display_label(truth, metrics)
    columns, others = metrics_by_rank_agreement(own, truth), metrics_by_rank_agreement(own, truth, primary=False)
    whole = own[own["arch"] == ""]
    minus = [measure for measure in dict.fromkeys(own["measure"]) if measure.startswith("spearman minus ")]
    for view, said in VIEWS.items():
        measures = ["spearman", "pearson", *(minus if view == "image" else [])]
        here = whole[whole["view"] == view]
        head = ["metric", "order only", *(f"methods: {_measure(one, metrics)}" for one in measures)]
        head += ["controls: Spearman", "methods and controls: Spearman", "methods", "images", "groups", "undefined"]
        yield Block(f"Beside {name}, {said}", head, [_line(here, column, measures, metrics) for column in columns])
    archs = [arch for arch in about.architectures if arch in set(own["arch"])]
    yield Block(
        f"Beside {name}, within an image, methods, Spearman: by architecture",
        ["metric", *archs],
        [
            [
                _name(column, metrics),
                *(
                    estimate_cell(_number(own[(own["view"] == "image") & (own["arch"] == arch)], column))
                    for arch in archs
                ),
            ]
            for column in columns
        ],
    )
    if others:
        lines = [
            [_name(column, metrics), *(estimate_cell(_number(whole[whole["view"] == view], column)) for view in VIEWS)]
            for column in others
        ]
        yield Block(f"Beside {name}, other variants, methods, Spearman", ["metric", *VIEWS.values()], lines)


def _line(here: pd.DataFrame, column: MetricVariant, measures: Sequence[str], metrics: Mapping[str, str]) -> list[Cell]:
    row = _number(here, column)
    counts = [Cell("-")] * 4
    if len(row):
        counts = [Cell(str(row[f"n_{what}"].iloc[0])) for what in ("methods", "images", "groups", "undefined")]
    order = here.loc[here["metric"] == column[0], "order_only"].any()
    return [
        _name(column, metrics), Cell("yes" if order else "no"), *(estimate_cell(_number(here, column, measure=measure)) for measure in measures),
        estimate_cell(_number(here, column, "controls")), estimate_cell(_number(here, column, "together")), *counts,
    ]  # fmt: skip


def _number(here: pd.DataFrame, column: MetricVariant, who: str = "methods", measure: str = "spearman") -> pd.DataFrame:
    return metric_rows.rows_of_metric(here[(here["who"] == who) & (here["measure"] == measure)], *column)


def _fooled(controls: pd.DataFrame, columns: Sequence[MetricVariant], metrics: Mapping[str, str]) -> Block:
    levels = ("median", "best")
    lines = [
        [
            _name(column, metrics),
            *(Cell(_over(metric_rows.rows_of_metric(controls, *column), f"over the {level}")) for level in levels),
        ]
        for column in columns
    ]
    return Block(
        "Controls that fool each metric, all architectures",
        ["metric", *(f"above the {level} method" for level in levels)],
        lines,
    )


def _over(own: pd.DataFrame, measure: str) -> str:
    """Return the controls whose interval lies above the methods."""
    here = own[own["measure"] == measure]
    return "no interval" if here["low"].isna().all() else ", ".join(here.loc[here["fooled"], "who"]) or "none"


def _gains(controls: pd.DataFrame, columns: Sequence[MetricVariant], metrics: Mapping[str, str]) -> Block:
    names = list(dict.fromkeys(controls["who"]))
    lines = [
        [
            _name(column, metrics),
            *(estimate_cell(_number(controls, column, name, "over the median"), signed=True) for name in names),
        ]
        for column in columns
    ]
    return Block("Controls minus the median method", ["metric", *names], lines)


def _wrong(ranked: pd.DataFrame) -> str:
    count = int(ranked["n_wrong"].max()) if len(ranked) else 0
    return f"Left out: {count} images with evidence that a model classifies wrongly, counted once per model."


def _measure(measure: str, metrics: Mapping[str, str]) -> str:
    word, *other = measure.split(" minus ")
    return word.capitalize() + (f" minus that of {display_label(other[0], metrics)}" if other else "")


def _name(column: MetricVariant, metrics: Mapping[str, str]) -> Cell:
    return Cell(metric_rows.display_column(column, metrics))
