"""Removal curves: the explained class's probability as pixels are taken away, the most relevant first, and the least.

One row of panels per architecture, one column per order, one line per method, pale bands its intervals; grey and dashed, a control.
A method whose order the model confirms falls early on the left and late on the right. The area under the left curve is
deletion, under the right one insertion. A map that is constant or not finite has no curve; how many is said, as their images are in
the others' means. Curves of different imputers are different questions: only one is drawn, the first of the study unless told.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import Figure, Given
from gradfaith.stats.estimates import mean_curves
from gradfaith.stats.intervals import Rule

FIGURE = Figure(needs=("curves", "manifest"))
ORDERS = {"most": "the most relevant first", "least": "the least relevant first"}
Look = Mapping[str, tuple[str, str]]  # method -> colour and marker


def draw(given: Given, *, imputer: str = "", methods: tuple[str, ...] = (), control: str = "random-grid") -> theme.Page:
    points = given.tables["curves"]
    imputer = imputer or str(next(iter(points["imputer"]), ""))
    points = points[points["imputer"] == imputer]
    known = [
        name for name in metric_rows.methods(points, given.controls) if not metric_rows.is_control(name, given.controls)
    ]
    asked = [name for name in known if not methods or name in methods]
    points = points[points["method"].isin([*asked, control])]
    rule = Rule(level=given.level, min_groups=int(given.settings["min_groups"]))
    curves = mean_curves(points, rule)
    look = theme.palette(asked) | ({control: (theme.GREY, "o")} if control in set(points["method"]) else {})
    archs = [name for name in given.architectures if name in set(curves["arch"])] or [""]
    figure = theme.page(1.2 + 1.9 * len(archs))
    panels = figure.subplots(len(archs), len(ORDERS), sharex=True, sharey=True, squeeze=False)
    for line, arch in enumerate(archs):
        for column, (order, said) in enumerate(ORDERS.items()):
            own = curves[(curves["arch"] == arch) & (curves["order"] == order)]
            _panel(panels[line, column], own, look, control)
            panels[line, column].set_title(f"{arch}, {said}" if arch else said)
        panels[line, 0].set_ylabel("Mean probability")
    for axes in panels[-1]:
        axes.set_xlabel(f"Pixels removed ({imputer})")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    panels[0, 0].set(xlim=(0, 1), ylim=(0, 1.02))
    if look:
        theme.legend(figure, [theme.swatch(name, *mark, control=name == control) for name, mark in look.items()])
    basis = theme.basis(curves, given.level, theme.kind(given.tables["manifest"])).replace("bars:", "bands:")
    theme.note(figure, basis, _lost(points))
    return figure


def _lost(points: pd.DataFrame) -> str:
    """How many maps of each method have no curve, of the images and models on which any has."""
    units = points[["arch", "seed", "image_id"]].drop_duplicates()
    asked = units.groupby("arch", observed=True).size().rename("asked")
    own = points[[*units.columns, "method"]].drop_duplicates().groupby(["method", "arch"], observed=True).size()
    both = own.rename("own").reset_index().join(asked, on="arch")
    lost = both.assign(lost=both["asked"] - both["own"]).groupby("method", sort=False, observed=True)["lost"].sum()
    words = ", ".join(f"{method} {count}" for method, count in lost.items() if count)
    return f"Maps without a curve (constant or not finite): {words}." if words else ""


def _panel(axes: Axes, own: pd.DataFrame, look: Look, control: str) -> None:
    axes.grid(axis="y")
    spaced = own["fraction"].nunique() <= 12
    for method, (colour, marker) in look.items():
        here = own[own["method"] == method].sort_values("fraction")
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
