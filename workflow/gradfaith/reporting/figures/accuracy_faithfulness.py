"""Accuracy against faithfulness: does the better classifier have the more faithful maps?

    x  balanced accuracy of an architecture, with its interval (classification)
    y  Faith's gain over the same maps shuffled, with its interval (contrasts), or Faith itself; another metric
       if the option names its label

A gain of 0 means that where the map shows something does not matter to the model. There are as many points as
architectures: with a handful, no correlation is computed, drawn or claimed.
"""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.vocabulary import SHUFFLED

FIGURE = Figure(
    needs=("estimates", "contrasts", "classification", "manifest"),
    section="Methods and controls",
    place=4,
    title="Accuracy against faithfulness",
)


def draw(inputs: FigureInputs, *, metric: str = "", method: str = "", gain: bool = True) -> theme.Page:
    method, archs = method or inputs.primary.method, list(inputs.architectures)
    contrasts = metric_rows.contrasts_with_controls(inputs.tables["contrasts"])
    table = metric_rows.rows_over_all_images(contrasts if gain else inputs.tables["estimates"])
    table = table[table["method"] == method]
    metric = metric or _first_label(table, inputs.metrics)
    table = metric_rows.rows_of_metric(table, metric)
    faith = table[table["against"] == SHUFFLED + method] if gain else table
    classed = metric_rows.macro_average_rows(inputs.tables["classification"])
    accuracy = classed[(classed["metric"] == "balanced_accuracy") & classed["arch"].isin(archs)]
    across, up = metric_rows.index_rows(accuracy, "arch"), metric_rows.index_rows(faith, "arch")
    figure, look = theme.new_page(3.2, 5.2), theme.palette(archs)
    axes = figure.subplots()
    chance = 1 / len(inputs.classes), 0.0
    part = theme.axis_range(accuracy, chance[0]), theme.axis_range(faith, chance[1])
    for arch in archs:
        if arch in across and arch in up:
            _draw_cross(axes, across[arch], up[arch], look[arch], part)
    axes.axhline(chance[1], color=theme.GREY, linestyle=":", linewidth=1)
    axes.axvline(chance[0], color=theme.GREY, linestyle=":", linewidth=1)
    axes.grid()
    variant = next(iter(table["variant"]), "")
    over = f"gain over shuffled maps\n({method}, {variant})" if gain else f"({method}, {variant})"
    axes.set(
        xlim=part[0],
        ylim=part[1],
        xlabel="Balanced accuracy",
        ylabel=f"{metric_rows.display_label(metric, inputs.metrics)}: {over}",
    )
    figure.legend(handles=[theme.legend_entry(arch, *look[arch]) for arch in archs], loc="outside right upper")
    lines = theme.describe_basis(
        pd.concat([accuracy, faith]), inputs.level, metric_rows.group_noun(inputs.tables["manifest"])
    )
    arrows = (
        theme.ARROW_NOTE
        if theme.any_interval_beyond(accuracy, part[0]) or theme.any_interval_beyond(faith, part[1])
        else ""
    )
    theme.add_note(figure, lines, f"Dotted: chance. {len(archs)} architectures: too few for a correlation.", arrows)
    return figure


def _first_label(table: pd.DataFrame, metrics: Mapping[str, str]) -> str:
    """Return the first of a table's metrics whose plug-in is `faith`; "" without one."""
    labels = metric_rows.labels_of_plugin("faith", [*dict.fromkeys(table["metric"])], metrics)
    return labels[0] if labels else ""


def _draw_cross(
    axes: Axes,
    across: metric_rows.TableRow,
    up: metric_rows.TableRow,
    look: tuple[str, str],
    part: tuple[theme.AxisRange, theme.AxisRange],
) -> None:
    """Draw both intervals; the point is hollow if one of them is missing."""
    lines = [(across, float(up["value"]), False, part[0]), (up, float(across["value"]), True, part[1])]
    for row, at, upright, shown in sorted(lines, key=lambda line: bool(pd.isna(line[0]["low"]))):
        theme.draw_estimate(axes, row, at, *look, upright=upright, shown=shown)
