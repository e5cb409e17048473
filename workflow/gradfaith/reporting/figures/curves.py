"""Removal curves: the probability of the explained class as pixels are removed, the most or least relevant first.

One row of panels per architecture, one column per order, one line per method, with its interval as a pale
band; grey and dashed is a control. Of more methods than colours, those with the widest gap between the two curves are in
colour and the others pale. If the model confirms a method's order, its curve falls early on the left
and late on the right. The area under the left curve is deletion, the area under the right one insertion. A
map that is constant or not finite has no curve; the note counts these maps, because their images are in the
other methods' means. Curves of different imputers answer different questions, so only one imputer is drawn:
the first of the study unless the option names another.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import marks, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.stats.estimates import mean_curves
from gradfaith.stats.image_scores import UNIT_COLUMNS
from gradfaith.stats.interval_scales import IntervalRule

FIGURE = Figure(
    needs=("curves", "manifest"),
    section="Methods and controls",
    place=5,
    title="Removal curves",
)
REMOVAL_ORDERS = {"most": ("the most relevant first", "lower"), "least": ("the least relevant first", "higher")}


BETWEEN = {"single": "\n", "double": " "}  # the words of a title
NO_CURVE = "No metric of this study removes pixels step by step, so there is no curve."
PALE_NOTE = "Pale: {count} methods with a narrower gap between their two curves."


def draw(
    inputs: FigureInputs,
    *,
    imputer: str = "",
    methods: tuple[str, ...] = (),
    control: str = "random-grid",
    width: Literal["single", "double"] = "double",
) -> theme.Page:
    assert inputs.curves is not None
    keys = inputs.curves.keys
    if keys.empty:
        return theme.sentence_page(NO_CURVE)
    imputer = imputer or str(next(iter(keys["imputer"])))
    keys = keys[keys["imputer"] == imputer]
    every = metric_rows.methods_in_display_order(keys, inputs.controls)
    available = [name for name in every if not metric_rows.is_control(name, inputs.controls)]
    shown = [name for name in available if not methods or name in methods]
    keys = keys[keys["method"].isin([*shown, control])]
    points = inputs.curves.select(inputs.curves.keys.index.isin(keys.index))
    curves = mean_curves(points, IntervalRule(level=inputs.level, min_groups=inputs.min_groups))
    named = methods_in_colour(curves, shown)
    look = {name: (theme.PALE, "") for name in shown if name not in named} | theme.palette(named)
    look |= {control: (theme.GREY, "o")} if control in set(keys["method"]) else {}
    archs = [name for name in inputs.architectures if name in set(curves["arch"])]
    figure = theme.new_page(1.2 + 1.9 * len(archs), theme.WIDTHS[width])
    panels = figure.subplots(len(archs), len(REMOVAL_ORDERS), sharex=True, sharey=True, squeeze=False)
    for line, arch in zip(panels, archs, strict=True):
        _draw_architecture(line, curves[curves["arch"] == arch], (arch, BETWEEN[width]), look, control)
    for axes in panels[-1]:
        axes.set_xlabel(f"Pixels removed ({imputer})")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    panels[0, 0].set(xlim=(0, 1), ylim=(0, 1))
    entries = {name: mark for name, mark in look.items() if name not in shown or name in named}
    theme.add_legend(
        figure, [marks.legend_entry(name, *mark, control=name == control) for name, mark in entries.items()]
    )
    basis = theme.describe_basis(curves, inputs.level, metric_rows.group_noun(inputs.tables["manifest"]), "Bands")
    pale = len(shown) - len(named)
    theme.add_note(figure, basis, PALE_NOTE.format(count=pale) if pale else "", _lost_maps_note(points))
    return figure


def methods_in_colour(curves: pd.DataFrame, methods: Sequence[str]) -> list[str]:
    """Return the methods, or as many as there are colours: those with the widest gap between their curves, in given order."""
    heights = curves.groupby(["method", "order"], observed=True)["value"].mean().unstack()
    if len(methods) <= len(theme.COLOURS) or not set(REMOVAL_ORDERS) <= set(heights):
        return list(methods)[: len(theme.COLOURS)]
    gap = (heights["least"] - heights["most"]).reindex(list(methods)).sort_values(ascending=False, kind="stable")
    widest = set(gap.index[: len(theme.COLOURS)])
    return [name for name in methods if name in widest]


def _lost_maps_note(points: Iterable[pd.DataFrame]) -> str:
    """Return how many maps of each method have no curve, among images and models on which any method has one."""
    maps = pd.concat(map(_maps_with_a_curve, points), ignore_index=True)
    possible = maps.drop_duplicates(UNIT_COLUMNS).groupby("arch").size().rename("possible")
    both = maps.groupby(["method", "arch"]).size().rename("own").reset_index().join(possible, on="arch")
    lost = both.assign(lost=both["possible"] - both["own"]).groupby("method", sort=False)["lost"].sum()
    words = ", ".join(f"{method} {count}" for method, count in lost.items() if count)
    return f"Maps without a curve (constant or not finite): {words}." if words else ""


def _maps_with_a_curve(points: pd.DataFrame) -> pd.DataFrame:
    return (
        points[[*UNIT_COLUMNS, "method"]].drop_duplicates().astype({"arch": "str", "image_id": "str", "method": "str"})
    )


def _draw_architecture(
    line: Sequence[Axes], rows: pd.DataFrame, title: tuple[str, str], look: theme.Marks, control: str
) -> None:
    """Draw one architecture: a panel per order of removal. `title`: its name, and what separates the parts of a title."""
    arch, between = title
    for axes, (order, (words, better)) in zip(line, REMOVAL_ORDERS.items(), strict=True):
        _draw_panel(axes, rows[rows["order"] == order], look, control)
        axes.set_title(f"{arch}\n{words}:{between}{theme.better_words(better, upright=True)}")
    line[0].set_ylabel("Mean probability")


def _draw_panel(axes: Axes, rows: pd.DataFrame, look: theme.Marks, control: str) -> None:
    axes.grid(axis="y")
    spaced = rows["fraction"].nunique() <= 12
    coloured = sum(bool(marker) for _, marker in look.values())
    for method, (colour, marker) in look.items():
        here = rows[rows["method"] == method].sort_values("fraction")
        sure = here[here["low"].notna()]
        filled = method != control and len(sure) == len(here)
        mark: dict[str, Any] = {"marker": marker, "markersize": 3.2, "markerfacecolor": colour if filled else "white"}
        mark |= {"markeredgecolor": colour, "markeredgewidth": 1.0, "clip_on": False}
        seaborn.lineplot(
            here, x="fraction", y="value", color=colour, linestyle=marks.DASHES[method == control], errorbar=None, estimator=None,
            legend=False, ax=axes, zorder=3 if marker else 1.5, **(mark if spaced and marker else {}),
        )  # fmt: skip
        if len(sure) and marker:
            ends: dict[str, Any] = {"x": sure["fraction"], "y1": sure["low"], "y2": sure["high"]}
            axes.fill_between(**ends, color=colour, alpha=0.4 / max(3, coloured), linewidth=0, zorder=2)
    axes.set(xlabel="", ylabel="")
