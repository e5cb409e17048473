"""Sensitivity, specificity and F1 by architecture, with intervals: Figure 1 of the paper, with what it left out.

Macro averages over the classes, on the test part, from stats/classification.py. The dotted line is a
classifier that ignores the image: macro sensitivity 1/k and specificity 1 - 1/k, whether it guesses or always
gives one class.
"""

from math import ceil
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import marks, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs

FIGURE = Figure(
    needs=("classification", "manifest"),
    section="Classification",
    place=1,
    title="How well the architectures classify",
)
CHANCE_LEVELS = {
    "sensitivity": lambda k: 1 / k,
    "recall": lambda k: 1 / k,
    "specificity": lambda k: 1 - 1 / k,
    "balanced_accuracy": lambda k: 1 / k,
}
RATE_RANGE = 0.0, 1.0  # every rate of stats/classification.py; of all of them more is better
ROW_INCHES = 0.34
ABREAST = {"single": 1, "double": 4}  # panels side by side, at most


def draw(
    inputs: FigureInputs,
    *,
    metrics: tuple[str, ...] = ("sensitivity", "specificity", "f1"),
    width: Literal["single", "double"] = "double",
) -> theme.Page:
    table, archs = inputs.tables["classification"], list(inputs.architectures)
    table = metric_rows.macro_average_rows(table)
    table = table[table["metric"].isin(metrics) & table["arch"].isin(archs)]
    look, abreast = theme.palette(archs), min(ABREAST[width], len(metrics))
    down = ceil(len(metrics) / abreast)
    figure = theme.new_page(0.5 + down * (0.55 + ROW_INCHES * len(archs)), theme.WIDTHS[width])
    panels = figure.subplots(down, abreast, sharey=True, squeeze=False)
    how = marks.Marks(look, shown=RATE_RANGE)
    for axes, metric in zip(panels.flat, metrics, strict=False):
        rows = table[table["metric"] == metric]
        at = rows["arch"].map({arch: float(place) for place, arch in enumerate(archs)})
        if metric in CHANCE_LEVELS:
            axes.axvline(CHANCE_LEVELS[metric](len(inputs.classes)), color=theme.GREY, linestyle=":", linewidth=1)
        marks.draw_estimates(axes, rows.assign(at=at, name=rows["arch"], control=False), how)
        _write_estimates(axes, rows.assign(at=at))
        label = theme.metric_axis_label(metric_rows.display_name(metric), "higher")
        axes.set(xlabel=label, xlim=RATE_RANGE, xticks=(0, 0.25, 0.5, 0.75, 1))
        axes.set_xticklabels(["0", ".25", ".5", ".75", "1"])
        axes.grid(axis="x")
    for axes in panels.flat[len(metrics) :]:
        axes.set_visible(False)
    panels[0, 0].set(ylim=(len(archs) - 0.5, -0.65))
    for axes in panels[:, 0]:
        axes.set_yticks(range(len(archs)), archs)
    noun = metric_rows.group_noun(inputs.tables["manifest"])
    theme.add_note(
        figure, theme.describe_basis(table, inputs.level, noun), "Dotted: a classifier that ignores the image."
    )
    return figure


def _write_estimates(axes: Axes, rows: pd.DataFrame) -> None:
    """Write each estimate above its point, where the panel has room: at the left of the points above one half."""
    look: dict[str, Any] = {
        "va": "center",
        "fontsize": 6.3,
        "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.6},
    }
    for row in metric_rows.records(rows):
        left = pd.notna(row["value"]) and row["value"] < 0.5
        place, side = (0.02, "left") if left else (0.98, "right")
        axes.text(place, row["at"] - 0.33, _format_estimate(row), ha=side, **look)


def _format_estimate(row: metric_rows.TableRow) -> str:
    """Return an estimate with its interval as text."""
    if pd.isna(row["value"]):
        return "undefined"
    return f"{row['value']:.2f}" + (f" [{row['low']:.2f}, {row['high']:.2f}]" if pd.notna(row["low"]) else "")
