"""The layer as a factor: one method at an early, a middle and the last layer of every architecture.

The study has the method under three labels: `gradcam-early` (`layer: early`), `gradcam-middle` (`layer: middle`) and
`gradcam`, which reads the architecture's own layer. One row of panels per metric, one column per architecture. In colour the
method, in grey and hollow its shuffled maps at the same layer: an early layer has a finer grid, and a metric can depend on
the grid alone.
"""

from typing import Literal

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import marks, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.vocabulary import SHUFFLED

FIGURE = Figure(
    needs=("estimates", "manifest"),
    section="Methods and controls",
    place=21,
    title="Early, middle and last layer",
)
DEPTHS = ("early", "middle", "last")
PLUGINS = ("locacc", "saliency_score", "iou_area_matched", "faith")
PANEL_INCHES = 1.5
NOTHING = "The study has no score of a method under one of the labels {labels}."


def draw(
    inputs: FigureInputs,
    *,
    method: str = "",
    metrics: tuple[str, ...] = (),
    width: Literal["single", "double"] = "double",
) -> theme.Page:
    method = method or inputs.primary.method
    places = {label: place for place, label in enumerate(labels_by_depth(method))}
    table = metric_rows.rows_over_all_images(inputs.tables["estimates"])
    name = table["method"].str.removeprefix(SHUFFLED)
    table = table[name.isin(places)].assign(
        control=table["method"].str.startswith(SHUFFLED), depth=name.map(places).astype(float)
    )
    shown = metric_rows.metrics_to_show(table, inputs.metrics, wanted=metrics, plugins=PLUGINS)
    archs = [arch for arch in inputs.architectures if arch in set(table["arch"])]
    if not shown:
        return theme.sentence_page(NOTHING.format(labels=", ".join(places)))
    figure, look = theme.new_page(1.35 + PANEL_INCHES * len(shown), theme.WIDTHS[width]), theme.palette(archs)
    panels = figure.subplots(len(shown), len(archs), sharex=True, sharey="row", squeeze=False)
    cut = False
    for line, metric in zip(panels, shown, strict=True):
        rows = metric_rows.rows_of_metric(table, metric)
        part = theme.axis_range(rows, bounds=inputs.range_of(metric))
        cut = cut or theme.any_interval_beyond(rows, part)
        for axes, arch in zip(line, archs, strict=True):
            _draw_panel(axes, rows[rows["arch"] == arch], marks.Marks(look, upright=True, shown=part))
        label = metric_rows.display_label(metric, inputs.metrics)
        line[0].set_ylabel(theme.metric_axis_label(label, inputs.better.get(metric, ""), upright=True))
    for top, axes, arch in zip(panels[0], panels[-1], archs, strict=True):
        top.set_title(arch, fontweight="bold")
        axes.set_xticks(range(len(DEPTHS)), DEPTHS, rotation=30 if len(archs) > 3 or width == "single" else 0)
    entries = [marks.legend_entry(f"{method} on {arch}", *look[arch]) for arch in archs]
    theme.add_legend(figure, [*entries, marks.legend_entry("its shuffled maps", theme.GREY, control=True)])
    noun = metric_rows.group_noun(inputs.tables["manifest"])
    basis = theme.describe_basis(table[table["metric"].isin(shown)], inputs.level, noun)
    theme.add_note(figure, _layers_note(table, archs), basis, theme.ARROW_NOTE if cut else "")
    return figure


def labels_by_depth(method: str) -> tuple[str, str, str]:
    """Return the labels of a method at an early, a middle and the last layer."""
    return f"{method}-early", f"{method}-middle", method


def _layers_note(table: pd.DataFrame, archs: list[str]) -> str:
    """Return which modules the layers are, architecture by architecture."""
    own = table[~table["control"]].sort_values("depth").drop_duplicates(["arch", "depth"])
    names = [f"{arch} {', '.join(own.loc[own['arch'] == arch, 'layer'])}" for arch in archs] if "layer" in own else []
    return f"Layers: {'; '.join(names)}." if names else ""


def _draw_panel(axes: Axes, rows: pd.DataFrame, how: marks.Marks) -> None:
    """Draw the method and its shuffled maps at the layers of one architecture."""
    rows = rows.assign(
        at=rows["depth"] + rows["control"].map({True: 0.12, False: -0.12}).astype(float), name=rows["arch"]
    )
    for control, own in rows[rows["value"].notna()].groupby("control"):
        colour = theme.GREY if control else how.look[next(iter(own["name"]))][0]
        seaborn.lineplot(
            own.sort_values("at"), x="at", y="value", color=colour, linewidth=0.8, alpha=0.6, errorbar=None, estimator=None,
            linestyle=marks.DASHES[bool(control)], legend=False, ax=axes, zorder=2,
        )  # fmt: skip
    marks.draw_estimates(axes, rows, how)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y")
    axes.set(xlim=(-0.5, len(DEPTHS) - 0.5), ylim=how.shown, xlabel="", ylabel="")
