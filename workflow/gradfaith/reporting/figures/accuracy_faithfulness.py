"""Accuracy against faithfulness: does the better classifier have the more faithful maps?

    x  balanced accuracy of an architecture, with its interval (classification)
    y  Faith's gain over the same maps shuffled, with its interval (contrasts), or Faith itself; another metric
       if the option names its label

A gain of 0 means that where the map shows something does not matter to the model. There are as many points as
architectures: with a handful, no correlation is computed, drawn or claimed.
"""

from collections.abc import Mapping
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import marks, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.vocabulary import SHUFFLED

FIGURE = Figure(
    needs=("estimates", "contrasts", "classification", "manifest"),
    section="Methods and controls",
    place=4,
    title="Accuracy against faithfulness",
)

FEW_NOTE = "Dotted: chance. {count} architectures: too few for a correlation."


def draw(
    inputs: FigureInputs,
    *,
    metric: str = "",
    method: str = "",
    gain: bool = True,
    width: Literal["single", "double"] = "double",
) -> theme.Page:
    method, archs = method or inputs.primary.method, list(inputs.architectures)
    contrasts = metric_rows.contrasts_with_controls(inputs.tables["contrasts"])
    table = metric_rows.rows_over_all_images(contrasts if gain else inputs.tables["estimates"])
    table = table[table["method"] == method]
    metric = metric or _first_label(table, inputs.metrics)
    table = metric_rows.rows_of_metric(table, metric)
    faith = table[table["against"] == SHUFFLED + method] if gain else table
    classed = metric_rows.macro_average_rows(inputs.tables["classification"])
    accuracy = classed[(classed["metric"] == "balanced_accuracy") & classed["arch"].isin(archs)]
    figure = theme.new_page(3.3, min(theme.WIDTHS[width], 5.2))
    axes, chance, look = figure.subplots(), (1 / len(inputs.classes), 0.0), theme.palette(archs)
    low, high = inputs.range_of(metric)
    part = (
        theme.axis_range(accuracy, chance[0], bounds=(0, 1)),
        theme.axis_range(faith, chance[1], bounds=(low - high, high - low) if gain else (low, high)),
    )
    for line, place in ((axes.axvline, chance[0]), (axes.axhline, chance[1])):
        line(place, color=theme.GREY, linestyle=":", linewidth=1)
    _draw_crosses(axes, accuracy, faith, look, part)
    axes.grid()
    name = f"{metric_rows.display_label(metric, inputs.metrics)}: {'gain over shuffled maps' + chr(10) if gain else ''}"
    name += f"({method}, {next(iter(table['variant']), '')})"
    axes.set(
        xlim=part[0], ylim=part[1], xlabel=theme.metric_axis_label("Balanced accuracy", "higher"),
        ylabel=theme.metric_axis_label(name, inputs.better.get(metric, ""), upright=True),
    )  # fmt: skip
    theme.add_legend(figure, marks.architecture_entries(look))
    both = pd.concat([accuracy, faith])
    lines = theme.describe_basis(both, inputs.level, metric_rows.group_noun(inputs.tables["manifest"]))
    cut = theme.any_interval_beyond(accuracy, part[0]) or theme.any_interval_beyond(faith, part[1])
    theme.add_note(figure, lines, FEW_NOTE.format(count=len(archs)), theme.ARROW_NOTE if cut else "")
    return figure


def _first_label(table: pd.DataFrame, metrics: Mapping[str, str]) -> str:
    """Return the first of a table's metrics whose plug-in is `faith`; "" without one."""
    labels = metric_rows.labels_of_plugin("faith", [*dict.fromkeys(table["metric"])], metrics)
    return labels[0] if labels else ""


def _draw_crosses(
    axes: Axes,
    accuracy: pd.DataFrame,
    faith: pd.DataFrame,
    look: theme.Marks,
    part: tuple[theme.AxisRange, theme.AxisRange],
) -> None:
    """Draw both intervals of every architecture; the point is hollow if one of them is missing."""
    columns = ["arch", "value", "low", "high"]
    both = accuracy[columns].merge(faith[columns], on="arch", suffixes=("_across", "_up"))
    lost = both["low_across"].isna() | both["low_up"].isna()
    for side, other, upright, shown in (("across", "up", False, part[0]), ("up", "across", True, part[1])):
        rows = pd.DataFrame({"name": both["arch"], "at": both[f"value_{other}"], "control": False})
        rows[["value", "low", "high"]] = both[[f"{name}_{side}" for name in ("value", "low", "high")]]
        marks.draw_estimates(axes, rows.dropna(subset=["at"]), marks.Marks(look, upright, shown))
    axes.collections[-1].set_facecolor(
        ["white" if empty else look[arch][0] for arch, empty in zip(both["arch"], lost, strict=True)]
    )
