"""Meta-evaluation of the metrics: how they rank methods beside the evidence, and which controls fool them.

After Figures 4 and 1 of "How to evaluate and refine your CAM". Left: the correlation with the truth over
methods that use the model, within an image, and over cells (a method of a model); in grey, methods and
controls together, which mostly shows that the two differ. Right: on what share of images a control scores
above the median method; 50 % is a draw. A frame marks a control that is above the median method with its
complete interval, in the metric's own unit; a thick frame, above the best method.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import theme
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
    inputs: FigureInputs, *, arch: str = "", truth: str = "", coefficient: Literal["spearman", "pearson"] = "spearman"
) -> theme.Page:
    table = inputs.tables["meta"]
    truth = truth or next(name for name in table["truth"] if name)
    columns = metric_rows.metrics_by_rank_agreement(table, truth)
    here = table[table["arch"] == arch]
    ranked = here[(here["truth"] == truth) & (here["measure"] == coefficient)]
    controls = here[here["view"] == "controls"]
    figure = theme.new_page(1.9 + 0.27 * len(columns))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.05))
    rows = pd.concat([ranked[(ranked["view"] == view) & (ranked["who"] == who)] for view, who, _ in RANKINGS])
    shown = _draw_correlations(left, rows, columns)
    left.set_xlabel(f"{coefficient.capitalize()} with {metric_rows.display_label(truth, inputs.metrics)}")
    _draw_controls(right, controls, columns)
    names = [metric_rows.display_column(column, inputs.metrics) for column in columns]
    left.set(yticks=range(len(columns)), yticklabels=names, ylim=(len(columns) - 0.4, -0.6))
    left.set_title(arch or "all architectures")
    right.set_title("Above the median method, % of images")
    colours = _ranking_marks()
    entries = [
        theme.legend_entry(label, *colours[place], control=place == 2) for place, (*_, label) in enumerate(RANKINGS)
    ]
    theme.add_legend(figure, entries)
    basis = theme.describe_basis(rows, inputs.level, metric_rows.group_noun(inputs.tables["manifest"]))
    theme.add_note(
        figure,
        basis,
        FRAME_NOTE,
        theme.ARROW_NOTE.replace("maps.csv", "meta.csv") if theme.any_interval_beyond(rows, shown) else "",
    )
    return figure


def _ranking_marks() -> list[tuple[str, str]]:
    return [(theme.COLOURS[0], "o"), (theme.COLOURS[1], "s"), (theme.GREY, "D")]


def _draw_correlations(axes: Axes, ranked: pd.DataFrame, columns: Sequence[MetricVariant]) -> theme.AxisRange:
    """Draw a point per metric and ranking, and return the range of correlations shown."""
    low, high = theme.axis_range(ranked, 0.0, 1.0)
    shown = max(low, -1.06), min(high, 1.06)
    axes.axvline(0, color=theme.GREY, linewidth=0.8, linestyle=":")
    axes.grid(axis="x")
    for (view, who, _), look, shift in zip(RANKINGS, _ranking_marks(), (-POINT_OFFSET, 0, POINT_OFFSET), strict=True):
        rows = ranked[(ranked["view"] == view) & (ranked["who"] == who)]
        for place, column in enumerate(columns):
            for row in metric_rows.rows_of_metric(rows, *column).to_dict("records"):
                if pd.notna(row["value"]):
                    theme.draw_estimate(axes, row, place + shift, *look, control=who == "together", shown=shown)
    for place, column in enumerate(columns):
        if metric_rows.rows_of_metric(ranked, *column)["value"].isna().all():
            axes.text(
                0.02,
                place,
                "no correlation, or the truth itself",
                transform=axes.get_yaxis_transform(),
                fontsize=6,
                va="center",
                color=theme.GREY,
            )
    axes.set_xlim(shown)
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
                corner = names.index(name) - 0.46, place - 0.44
                axes.add_patch(
                    Rectangle(corner, 0.92, 0.88, fill=False, edgecolor=theme.WRONG, linewidth=width, zorder=4)
                )
    axes.imshow(shares, cmap=theme.SHARE_COLOURS, vmin=0, vmax=1, aspect="auto", zorder=1)
    for (place, spot), share in np.ndenumerate(shares):
        text = "-" if np.isnan(share) else f"{100 * share:.0f}"
        dark = share > 0.6
        axes.text(
            spot, place, text, ha="center", va="center", fontsize=6.3, color="white" if dark else theme.INK, zorder=5
        )
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.tick_params(axis="both", length=0)
    axes.spines[:].set_visible(False)
