"""Removal curves: the probability of the explained class as pixels are removed, the most or least relevant first.

One row of panels per architecture, one column per order, one line per method, with its interval as a pale
band; grey and dashed is a control. If the model confirms a method's order, its curve falls early on the left
and late on the right. The area under the left curve is deletion, the area under the right one insertion. A
map that is constant or not finite has no curve; the note counts these maps, because their images are in the
other methods' means. Curves of different imputers answer different questions, so only one imputer is drawn:
the first of the study unless the option names another.
"""

from collections.abc import Iterable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import theme
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
REMOVAL_ORDERS = {"most": "the most relevant first", "least": "the least relevant first"}


def draw(
    inputs: FigureInputs, *, imputer: str = "", methods: tuple[str, ...] = (), control: str = "random-grid"
) -> theme.Page:
    assert inputs.curves is not None
    keys = inputs.curves.keys
    imputer = imputer or str(next(iter(keys["imputer"]), ""))
    keys = keys[keys["imputer"] == imputer]
    available = [
        name
        for name in metric_rows.methods_in_display_order(keys, inputs.controls)
        if not metric_rows.is_control(name, inputs.controls)
    ]
    shown = [name for name in available if not methods or name in methods]
    keys = keys[keys["method"].isin([*shown, control])]
    points = inputs.curves.select(inputs.curves.keys.index.isin(keys.index))
    rule = IntervalRule(level=inputs.level, min_groups=inputs.min_groups)
    curves = mean_curves(points, rule)
    look = theme.palette(shown) | ({control: (theme.GREY, "o")} if control in set(keys["method"]) else {})
    archs = [name for name in inputs.architectures if name in set(curves["arch"])] or [""]
    figure = theme.new_page(1.2 + 1.9 * len(archs))
    panels = figure.subplots(len(archs), len(REMOVAL_ORDERS), sharex=True, sharey=True, squeeze=False)
    for line, arch in enumerate(archs):
        for column, (order, title) in enumerate(REMOVAL_ORDERS.items()):
            rows = curves[(curves["arch"] == arch) & (curves["order"] == order)]
            _draw_panel(panels[line, column], rows, look, control)
            panels[line, column].set_title(f"{arch}, {title}" if arch else title)
        panels[line, 0].set_ylabel("Mean probability")
    for axes in panels[-1]:
        axes.set_xlabel(f"Pixels removed ({imputer})")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    panels[0, 0].set(xlim=(0, 1), ylim=(0, 1.02))
    if look:
        theme.add_legend(
            figure, [theme.legend_entry(name, *mark, control=name == control) for name, mark in look.items()]
        )
    basis = theme.describe_basis(curves, inputs.level, metric_rows.group_noun(inputs.tables["manifest"]), "Bands")
    theme.add_note(figure, basis, _lost_maps_note(points))
    return figure


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


def _draw_panel(axes: Axes, rows: pd.DataFrame, look: theme.Marks, control: str) -> None:
    axes.grid(axis="y")
    spaced = rows["fraction"].nunique() <= 12
    for method, (colour, marker) in look.items():
        here = rows[rows["method"] == method].sort_values("fraction")
        dash, sure = theme.DASHED if method == control else "-", here[here["low"].notna()]
        filled = method != control and len(sure) == len(here)
        mark: Any = {"marker": marker, "markersize": 3.2, "markerfacecolor": colour if filled else "white"}
        axes.plot(here["fraction"], here["value"], color=colour, linestyle=dash, zorder=3, **(mark if spaced else {}))
        if len(sure):
            axes.fill_between(
                sure["fraction"],
                sure["low"],
                sure["high"],
                color=colour,
                alpha=0.4 / max(3, len(look)),
                linewidth=0,
                zorder=2,
            )
