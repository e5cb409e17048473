"""Sensitivity, specificity and F1 by architecture, with intervals: Figure 1 of the paper, with what it left out.

Macro averages over the classes, on the test part, from stats/classification.py. The dotted line is a
classifier that ignores the image: macro sensitivity 1/k and specificity 1 - 1/k, whether it guesses or always
gives one class.
"""

import pandas as pd

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import theme
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
LABEL_BOX = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}


def draw(inputs: FigureInputs, *, metrics: tuple[str, ...] = ("sensitivity", "specificity", "f1")) -> theme.Page:
    table, archs = inputs.tables["classification"], list(inputs.architectures)
    table = metric_rows.macro_average_rows(table)
    table = table[table["metric"].isin(metrics) & table["arch"].isin(archs)]
    figure, look = theme.new_page(0.95 + 0.36 * len(archs)), theme.palette(archs)
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    low, high = theme.axis_range(table)
    part = min(-0.02, max(low, -0.2)), max(1.02, min(high, 1.2))  # an end beyond 1 is to be seen
    for axes, metric in zip(panels, metrics, strict=True):
        rows = metric_rows.index_rows(table[table["metric"] == metric], "arch")
        axes.set(title=metric_rows.display_name(metric), xlim=part, xticks=(0, 0.25, 0.5, 0.75, 1))
        axes.set_xticklabels(["0", ".25", ".5", ".75", "1"])
        axes.grid(axis="x")
        if metric in CHANCE_LEVELS:
            axes.axvline(CHANCE_LEVELS[metric](len(inputs.classes)), color=theme.GREY, linestyle=":", linewidth=1)
        for place, arch in enumerate(archs):
            if arch in rows:
                theme.draw_estimate(axes, rows[arch], place, *look[arch], shown=part)
                axes.text(
                    1.01,
                    place - 0.3,
                    _format_estimate(rows[arch]),
                    ha="right",
                    va="center",
                    fontsize=6.5,
                    bbox=LABEL_BOX,
                )
    panels[0].set(yticks=range(len(archs)), yticklabels=archs, ylim=(len(archs) - 0.5, -0.65))
    theme.add_note(
        figure,
        theme.describe_basis(table, inputs.level, metric_rows.group_noun(inputs.tables["manifest"])),
        "Dotted: a classifier that ignores the image."
        + (" Arrow: the interval is longer than the panel." if theme.any_interval_beyond(table, part) else ""),
    )
    return figure


def _format_estimate(row: metric_rows.TableRow) -> str:
    """Return an estimate with its interval as text."""
    if pd.isna(row["value"]):
        return "undefined"
    return f"{row['value']:.2f}" + (f" [{row['low']:.2f}, {row['high']:.2f}]" if pd.notna(row["low"]) else "")
