"""Draw estimates with their intervals: points by seaborn, intervals from the columns `low` and `high` of our own tables.

Seaborn never estimates an interval here. Its `scatterplot` draws the points; it has no mark for an interval with given ends
and none for an arrow, so matplotlib draws those two. Controls are grey and hollow, their intervals dashed. An estimate
without an interval is hollow too. An interval that leaves the part of the axis that is shown ends in an arrow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import theme

POINT_SIZE = 4.2  # points
DASHES: Mapping[bool, Any] = {True: theme.DASHED, False: "-"}  # by whether it is a control


@dataclass(frozen=True)
class Marks:
    """How `draw_estimates` draws: `upright` if values lie on the vertical axis, and the part of that axis that is shown."""

    look: theme.Marks  # name -> colour and marker
    upright: bool = False
    shown: theme.AxisRange = (-inf, inf)
    size: float = POINT_SIZE
    pale: bool = False  # intervals; many of them cross


def draw_estimates(axes: Axes, rows: pd.DataFrame, how: Marks) -> None:
    """Draw the rows with a value: columns value, low, high, `at` (place on the other axis), `name` and `control`.

    `name` is a key of `how.look`. NaN as `low`: there is no interval.
    """
    rows = rows[rows["value"].notna()].astype({"value": float, "low": float, "high": float, "at": float})
    if rows.empty:
        return
    pairs = zip(rows["name"], rows["control"], strict=True)
    colours = [theme.GREY if control else how.look[name][0] for name, control in pairs]
    _draw_intervals(axes, rows.assign(colour=colours), how)
    draw_points(axes, rows, how, hollow=rows["control"].astype(bool) | rows["low"].isna())
    axes.collections[-1].set_edgecolor(colours)


def draw_points(axes: Axes, rows: pd.DataFrame, how: Marks, *, hollow: pd.Series) -> None:
    """Draw a point per row, with the colour and the marker of its `name`; `hollow`: whether a row's point is."""
    axes.set(xlabel="", ylabel="")
    if rows.empty:  # seaborn then draws no collection at all
        return
    names = list(dict.fromkeys(rows["name"]))
    x, y = ("at", "value") if how.upright else ("value", "at")
    seaborn.scatterplot(
        rows, x=x, y=y, hue="name", hue_order=names, palette={name: how.look[name][0] for name in names},
        style="name", style_order=names, markers={name: how.look[name][1] for name in names},
        s=how.size**2, linewidth=1.0, zorder=4, clip_on=False, legend=False, ax=axes,
    )  # fmt: skip
    colours = [how.look[name][0] for name in rows["name"]]
    axes.collections[-1].set_edgecolor(colours)
    axes.collections[-1].set_facecolor(
        ["white" if empty else colour for empty, colour in zip(hollow, colours, strict=True)]
    )
    axes.set(xlabel="", ylabel="")  # seaborn writes the names of the columns


def _draw_intervals(axes: Axes, rows: pd.DataFrame, how: Marks) -> None:
    """Draw the intervals, cut at the ends of the part that is shown; an arrow marks a cut."""
    draw = axes.vlines if how.upright else axes.hlines
    width: dict[str, Any] = {"linewidth": 0.9, "alpha": 0.45} if how.pale else {"linewidth": 1.3}
    for control, own in rows[rows["low"].notna()].groupby("control"):
        first, last = (own[end].clip(*how.shown) for end in ("low", "high"))
        draw(own["at"], first, last, colors=list(own["colour"]), linestyles=DASHES[bool(control)], zorder=3, **width)
    low, high = how.shown
    for leaves, end, head in ((rows["low"] < low, low, "v<"), (rows["high"] > high, high, "^>")):
        for row in metric_rows.records(rows[leaves]):
            tip = (row["at"], end) if how.upright else (end, row["at"])
            look: dict[str, Any] = {"marker": head[not how.upright], "color": row["colour"], "markeredgewidth": 0}
            axes.plot(*tip, markersize=4, clip_on=False, zorder=4, **look)


def legend_entry(label: str, colour: str, marker: str = "o", *, control: bool = False, hollow: bool = False) -> Line2D:
    """Return an entry of a legend that looks like `draw_estimates`."""
    face = "white" if control or hollow else colour
    return Line2D(
        [], [], color=colour, marker=marker, markerfacecolor=face, markersize=POINT_SIZE, markeredgewidth=1.0,
        linewidth=0 if hollow else 1.3, linestyle=DASHES[control], label=label,
    )  # fmt: skip


def architecture_entries(look: theme.Marks) -> Sequence[Line2D]:
    """Return a legend entry per name."""
    return [legend_entry(name, *mark) for name, mark in look.items()]


def spread_offsets(names: Sequence[str], step: float) -> dict[str, float]:
    """Return name -> offset from the middle of a row, so that names stand side by side, `step` apart."""
    return {name: (place - (len(names) - 1) / 2) * step for place, name in enumerate(names)}
