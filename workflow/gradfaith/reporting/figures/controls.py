"""Every method against every control, metric by metric: what images of maps alone cannot show.

One row of panels per architecture, one column per metric, one line per method; controls are grey and hollow.
A method's shuffled copies are a small grey cross on its own line, without their interval. The band is the
interval of the first method: a control inside the band does not use the model and scores alike. If there are
more methods than colours, the lines name them and the legend does not.

Overlapping intervals do not settle a comparison, and separate intervals are not a test: contrasts, paired by
image, are in the table. Only the primary variant of each metric is drawn; for an agreement metric also its
chance level, the same maps compared between different images.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.vocabulary import BETWEEN_IMAGES, NOT_OK, SHUFFLED

FIGURE = Figure(
    needs=("estimates", "manifest"),
    section="Methods and controls",
    place=1,
    title="Methods against controls",
)
LINE_INCHES = 0.14  # inches
CHANCE_MARK: dict[str, Any] = {"color": theme.INK, "marker": "|", "markersize": 6, "markeredgewidth": 1, "zorder": 5}
COPIES_MARK: dict[str, Any] = {
    "color": theme.GREY,
    "marker": "x",
    "markersize": 3.4,
    "markeredgewidth": 1,
    "zorder": 2.5,
}
CROSSES_NOTE = "Crosses: maps.csv has the intervals of the shuffled copies."


def draw(inputs: FigureInputs, *, metrics: tuple[str, ...] = ()) -> theme.Page:
    table = metric_rows.rows_over_all_images(inputs.tables["estimates"])
    shown = metric_rows.metrics_to_show(table, inputs.metrics, wanted=metrics, primary=inputs.primary.metric)
    archs = [name for name in inputs.architectures if name in set(table["arch"])]
    table = table[table["metric"].isin(shown)]
    every = metric_rows.methods_in_display_order(table, inputs.controls)
    methods = [
        name for name in every if name.removeprefix(SHUFFLED) == name or name.removeprefix(SHUFFLED) not in every
    ]
    look = _assign_marks(methods, inputs.controls)
    figure = theme.new_page(0.9 + len(archs) * (0.32 + LINE_INCHES * len(methods)))
    panels = figure.subplots(len(archs), len(shown), sharex="col", sharey=True, squeeze=False)
    drawn: list[pd.DataFrame] = []
    cut = False
    for column, metric in enumerate(shown):
        whole, chance = (
            metric_rows.rows_of_metric(table, metric),
            metric_rows.rows_of_metric(table, metric, BETWEEN_IMAGES),
        )
        rows, copies = whole[whole["method"].isin(methods)], whole[~whole["method"].isin(methods)]
        shown_part = theme.axis_range(rows, *chance["value"], *copies["value"])
        drawn, cut = [*drawn, rows], cut or theme.any_interval_beyond(rows, shown_part)
        for line, arch in enumerate(archs):
            estimates, shuffled, level = (part[part["arch"] == arch] for part in (rows, copies, chance))
            _draw_panel(panels[line, column], estimates, shuffled, level, methods, look, shown_part)
        panels[-1, column].set(
            xlabel=_axis_label(metric_rows.display_label(metric, inputs.metrics), rows), xlim=shown_part
        )
    for line, arch in enumerate(archs):
        panels[line, 0].set_title(arch, fontweight="bold")
        panels[line, 0].set(yticks=range(len(methods)), yticklabels=methods, ylim=(len(methods) - 0.4, -0.6))
    folded = len(methods) < len(every)
    theme.add_legend(figure, _legend_entries(look, folded, BETWEEN_IMAGES in set(table["variant"])))
    basis = theme.describe_basis(pd.concat(drawn), inputs.level, metric_rows.group_noun(inputs.tables["manifest"]))
    theme.add_note(
        figure, basis, " ".join(filter(None, (CROSSES_NOTE if folded else "", theme.ARROW_NOTE if cut else "")))
    )
    return figure


def _assign_marks(methods: Sequence[str], controls: Sequence[str]) -> theme.Marks:
    model_based = [name for name in methods if not metric_rows.is_control(name, controls)]
    return dict.fromkeys(methods, (theme.GREY, "o")) | theme.palette(model_based)


def _draw_panel(
    axes: Axes, rows: pd.DataFrame, copies: pd.DataFrame, chance: pd.DataFrame, methods: Sequence[str], look: theme.Marks,
    shown: theme.AxisRange,
) -> None:  # fmt: skip
    here, shuffled, level = (metric_rows.index_rows(part, "method") for part in (rows, copies, chance))
    axes.grid(axis="x")
    axes.tick_params(axis="x", labelsize=6.8)
    axes.xaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2))
    first = methods[0]
    if first in here and pd.notna(here[first]["low"]):
        axes.axvspan(here[first]["low"], here[first]["high"], color=look[first][0], alpha=0.1, linewidth=0)
    for place, method in enumerate(methods):
        colour, marker = look[method]
        for found, mark in ((level.get(method), CHANCE_MARK), (shuffled.get(SHUFFLED + method), COPIES_MARK)):
            if found is not None and pd.notna(found["value"]):
                axes.plot(found["value"], place, linewidth=0, **mark)
        if method in here and pd.notna(here[method]["value"]):
            theme.draw_estimate(axes, here[method], place, colour, marker, control=colour == theme.GREY, shown=shown)
        else:
            why = _commonest_status(here[method]) if method in here else "not measured"
            axes.text(0.02, place, why, transform=axes.get_yaxis_transform(), va="center", fontsize=6, color=theme.GREY)


def _commonest_status(row: metric_rows.TableRow) -> str:
    """Return why there is no number: the most frequent status."""
    return max(NOT_OK, key=lambda status: int(row.get(f"n_{status}", 0)))


def _axis_label(name: str, rows: pd.DataFrame) -> str:
    variant = next(iter(rows["variant"]), "")
    return name + (f"\n({metric_rows.VARIANT_WORDS.get(variant, variant)})" if variant else "")


def _legend_entries(look: theme.Marks, folded: bool, chance: bool) -> list[Line2D]:
    named = [theme.legend_entry(name, *mark) for name, mark in look.items() if mark[0] != theme.GREY]
    entries = named if len(named) <= len(theme.COLOURS) else [theme.legend_entry("methods, in colour", theme.ACCENT)]
    entries.append(theme.legend_entry("controls, which do not use the model", theme.GREY, control=True))
    if folded:
        entries.append(Line2D([], [], linewidth=0, label="the same maps, shuffled", **COPIES_MARK))
    if chance:
        entries.append(Line2D([], [], linewidth=0, label="chance level: between different images", **CHANCE_MARK))
    return entries
