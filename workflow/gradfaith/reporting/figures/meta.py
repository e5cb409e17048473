"""Meta-evaluation of the metrics: how they rank methods beside the evidence, and which controls fool them.

After Figures 4 and 1 of "How to evaluate and refine your CAM". Left: the correlation with the truth over
methods that use the model, within an image, and over cells (a method of a model); in grey, methods and
controls together, which mostly shows that the two differ. Right: on what share of images a control scores
above the median method; 50 % is a draw. A frame marks a control that is above the median method with its
complete interval, in the metric's own unit; a thick frame, above the best method.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import marks, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.stats.estimates import MetricVariant

FIGURE = Figure(
    needs=("meta", "manifest"),
    section="Evaluation of the metrics",
    place=1,
    title="Metrics compared with the evidence",
)
RANKINGS = (
    ("image", "methods", "within an image"),
    ("cells", "methods", "over cells"),
    ("image", "together", "with controls, within an image"),
)
POINT_OFFSET = 0.24  # between the points of a metric
FRAME_NOTE = (
    "Frame: the control is above the median method, with its complete interval; thick frame: above the best method."
)


def draw(
    inputs: FigureInputs,
    *,
    arch: str = "",
    truth: str = "",
    coefficient: Literal["spearman", "pearson"] = "spearman",
    width: Literal["single", "double"] = "double",
) -> theme.Page:
    table = inputs.tables["meta"]
    truth = truth or next(name for name in table["truth"] if name)
    columns = metric_rows.metrics_by_rank_agreement(table, truth)
    here = table[table["arch"] == arch]
    ranked = here[(here["truth"] == truth) & (here["measure"] == coefficient)]
    controls = here[here["view"] == "controls"]
    beside, height = width == "double", 0.27 * len(columns)
    figure = theme.new_page(1.9 + height if beside else 2.6 + 2 * height, theme.WIDTHS[width])
    left, right = figure.subplots(*((1, 2) if beside else (2, 1)), width_ratios=(1, 1.05) if beside else None)
    rows = pd.concat([ranked[(ranked["view"] == view) & (ranked["who"] == who)] for view, who, _ in RANKINGS])
    shown = _draw_correlations(left, rows, columns)
    name = f"{coefficient.capitalize()} with {metric_rows.display_label(truth, inputs.metrics)}"
    left.set_xlabel(theme.metric_axis_label(name, "higher"))
    _draw_controls(right, controls, columns)
    names = [metric_rows.display_column(column, inputs.metrics) for column in columns]
    left.set(yticks=range(len(columns)), yticklabels=names, ylim=(len(columns) - 0.5, -0.5))
    if not beside:
        right.set_yticks(np.arange(len(columns)) + 0.5, names, rotation=0)
    left.set_title(arch or "all architectures")
    right.set_title(f"Controls above the median method,{' ' if beside else chr(10)}% of images")
    theme.add_legend(figure, _legend_entries())
    basis = theme.describe_basis(rows, inputs.level, metric_rows.group_noun(inputs.tables["manifest"]))
    theme.add_note(
        figure,
        basis,
        FRAME_NOTE,
        theme.ARROW_NOTE.replace("maps.csv", "meta.csv") if theme.any_interval_beyond(rows, shown) else "",
    )
    return figure


def _legend_entries() -> list[Line2D]:
    pairs = zip(RANKINGS, _ranking_marks(), strict=True)
    return [marks.legend_entry(label, *mark, control=who == "together") for (_, who, label), mark in pairs]


def _ranking_marks() -> list[tuple[str, str]]:
    return [(theme.COLOURS[0], "o"), (theme.COLOURS[1], "s"), (theme.GREY, "D")]


def _draw_correlations(axes: Axes, ranked: pd.DataFrame, columns: Sequence[MetricVariant]) -> theme.AxisRange:
    """Draw a point per metric and ranking, and return the range of correlations shown."""
    shown = theme.axis_range(ranked, 0.0, 1.0, bounds=(-1.0, 1.0))
    axes.axvline(0, color=theme.GREY, linewidth=0.8, linestyle=":")
    axes.grid(axis="x")
    place = {column: float(number) for number, column in enumerate(columns)}
    at = [place.get(column, np.nan) for column in zip(ranked["metric"], ranked["variant"], strict=True)]
    look = {label: mark for (*_, label), mark in zip(RANKINGS, _ranking_marks(), strict=True)}
    for (view, who, label), shift in zip(RANKINGS, (-POINT_OFFSET, 0, POINT_OFFSET), strict=True):
        rows = ranked.assign(at=at)[(ranked["view"] == view) & (ranked["who"] == who)].dropna(subset=["at"])
        rows = rows.assign(at=rows["at"] + shift, name=label, control=who == "together")
        marks.draw_estimates(axes, rows, marks.Marks(look, shown=shown))
    for column, line in place.items():
        if metric_rows.rows_of_metric(ranked, *column)["value"].isna().all():
            words: dict[str, Any] = {
                "transform": axes.get_yaxis_transform(),
                "fontsize": 6,
                "va": "center",
                "color": theme.GREY,
            }
            axes.text(0.02, line, "no correlation, or the truth itself", **words)
    axes.set_xlim(shown)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    return shown


def _draw_controls(axes: Axes, controls: pd.DataFrame, columns: Sequence[MetricVariant]) -> None:
    """Draw a cell per metric and control: the share, and a frame if the control fools the metric."""
    names = list(dict.fromkeys(controls["who"]))
    shares = np.full((len(columns), len(names)), np.nan)
    for place, column in enumerate(columns):
        rows = metric_rows.rows_of_metric(controls, *column)
        cells = rows[rows["measure"] == "beats the median"].set_index("who")["value"]
        shares[place] = [cells.get(name, np.nan) for name in names]
        for measure, width in (("over the median", 0.9), ("over the best", 2.0)):
            for name in rows.loc[(rows["measure"] == measure) & rows["fooled"], "who"]:
                corner = names.index(name) + 0.04, place + 0.06
                axes.add_patch(
                    Rectangle(corner, 0.92, 0.88, fill=False, edgecolor=theme.WRONG, linewidth=width, zorder=4)
                )
    texts = [["-" if np.isnan(share) else f"{100 * share:.0f}" for share in line] for line in shares]
    seaborn.heatmap(
        np.nan_to_num(shares), annot=np.array(texts).reshape(shares.shape), fmt="", vmax=1, xticklabels=names, yticklabels=False,
        annot_kws={"fontsize": 6.3}, ax=axes, **theme.HEAT_MAP,
    )  # fmt: skip
    axes.set_xticks(np.arange(len(names)) + 0.5, names, rotation=90)
    axes.tick_params(axis="both", length=0)
