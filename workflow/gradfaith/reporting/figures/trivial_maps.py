"""Figure 1 of "How to evaluate and refine your CAM": which metrics do maps fool that show nothing?

One panel per metric, in the paper's order: Average Drop, ADCC, ROAD, ARCC. Along the axis stand a few methods, then the
trivial maps in grey: Random (noise), Half (one half everywhere), All1s (one everywhere; the control `uniform`); side by side the
networks. A trivial map among the methods shows that the metric is fooled. The band spans the methods of a network from the
lowest to the highest value. The arrow at each panel says which way is better.

`metrics` and `methods` are labels of the study. Empty: those of the paper's figure, with Grad-CAM++, LayerCAM and Score-CAM
at the network's first stage if the study has them there; a study that has none of them shows its own first ones.
"""

from collections.abc import Sequence
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import marks, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs

FIGURE = Figure(
    needs=("estimates", "manifest"),
    section="Evaluation of the metrics",
    place=13,
    title="Metrics and maps that show nothing",
)
METRICS = ("average_drop", "adcc", "road", "arcc")
METHODS = ("gradcam_pp", "layercam", "scorecam")
TRIVIAL = {"random": "Random", "half": "Half", "uniform": "All1s"}
NOTHING = "The study has none of the metrics or none of the methods of this figure."
PANEL_INCHES, ROOM = 1.75, 0.75


def draw(
    inputs: FigureInputs,
    *,
    metrics: tuple[str, ...] = (),
    methods: tuple[str, ...] = (),
    width: Literal["single", "double"] = "double",
) -> theme.Page:
    table = metric_rows.rows_over_all_images(inputs.tables["estimates"])
    known = list(dict.fromkeys(table["metric"]))
    paper = [label for name in METRICS for label in metric_rows.labels_of_plugin(name, known, inputs.metrics)]
    shown = list(metrics) or paper or metric_rows.metrics_to_show(table, inputs.metrics)
    every = metric_rows.methods_in_display_order(table, inputs.controls)
    own = [name for name in every if not metric_rows.is_control(name, inputs.controls)]
    names = [*(methods or paper_methods(own) or own[: len(METHODS)]), *(name for name in TRIVIAL if name in every)]
    archs = [name for name in inputs.architectures if name in set(table["arch"])]
    if not shown or not own or not archs:
        return theme.sentence_page(NOTHING)
    abreast = min(len(shown), 2 if width == "double" else 1)
    lines = -(-len(shown) // abreast)
    figure, look = theme.new_page(1.5 + PANEL_INCHES * lines, theme.WIDTHS[width]), theme.palette(archs)
    panels = figure.subplots(lines, abreast, sharex=True, squeeze=False)
    drawn = []
    for axes, metric in zip(panels.flat, shown, strict=False):
        rows = metric_rows.rows_of_metric(table, metric)
        drawn.append(_draw_panel(axes, inputs, metric, rows[rows["method"].isin(names)], names, look))
    for axes in panels.flat[len(shown) :]:
        axes.set_visible(False)
    for axes in panels[-1]:
        axes.set_xticks(range(len(names)), [TRIVIAL.get(name, name) for name in names], rotation=30, ha="right")
    theme.add_legend(figure, marks.architecture_entries(look))
    noun = metric_rows.group_noun(inputs.tables["manifest"])
    cut = any(was_cut for _, was_cut in drawn)
    basis = theme.describe_basis(pd.concat([rows for rows, _ in drawn]), inputs.level, noun)
    theme.add_note(figure, basis, theme.ARROW_NOTE if cut else "")
    return figure


def paper_methods(labels: Sequence[str]) -> list[str]:
    """Return the labels of the paper's three methods among those of a study: those at an early layer if there are any."""
    found = []
    for name in METHODS:
        early = [label for label in labels if label.startswith(f"{name}-")]
        found += early[:1] or [label for label in labels if label == name]
    return found


def _draw_panel(
    axes: Axes, inputs: FigureInputs, metric: str, rows: pd.DataFrame, names: Sequence[str], look: theme.Marks
) -> tuple[pd.DataFrame, bool]:
    """Draw one metric; return its rows and whether an interval is cut."""
    place = {name: float(number) for number, name in enumerate(names)}
    offset = marks.spread_offsets(list(look), ROOM / max(len(look), 2))
    trivial = rows["method"].isin(TRIVIAL)
    at = rows["method"].map(place).astype(float) + rows["arch"].map(offset).astype(float)
    rows = rows.assign(at=at, name=rows["arch"], control=trivial)
    shown = theme.axis_range(rows, bounds=inputs.range_of(metric))
    for arch, own in rows[~trivial].groupby("arch", sort=False):
        values = own["value"].dropna()
        if len(values):
            axes.axhspan(float(values.min()), float(values.max()), color=look[str(arch)][0], alpha=0.07, linewidth=0)
    marks.draw_estimates(axes, rows, marks.Marks(look, upright=True, shown=shown))
    axes.axvline(
        len(names) - sum(name in TRIVIAL for name in names) - 0.5, color=theme.GREY, linewidth=0.8, linestyle=":"
    )
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y")
    name = metric_rows.display_label(metric, inputs.metrics)
    axes.set(
        xlim=(-0.6, len(names) - 0.4), ylim=shown, xlabel="",
        ylabel=theme.metric_axis_label(name, inputs.better.get(metric, ""), upright=True),
    )  # fmt: skip
    return rows, theme.any_interval_beyond(rows, shown)
