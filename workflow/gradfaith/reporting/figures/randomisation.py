"""What maps still show when the model forgets: their rank agreement with the trained model's, as weights become random.

A panel per method, so that twenty can be read beside each other; in it a line per architecture and order of the cascade: unbroken from
the head down, broken from the image up. At 0 % a map agrees with itself; a method that reads the model falls towards 0. One
that stays high explains the image or the architecture. At 100 % both orders are the same random network.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from math import ceil

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from gradfaith.metrics.maps import randomisation
from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import Figure, Given

FIGURE = Figure(needs=("estimates", "manifest"))
ORDERS = {"top_down": ("from the head down", "-"), "bottom_up": ("from the image up", theme.DASHED)}
BOUNDS = -1.06, 1.06  # of a correlation, and room for the markers
BEYOND = "An interval that meets the edge of its panel goes on; its ends are in maps.csv."
SPREAD = 0.4  # of the way to the next step, shared by all lines of a panel
ABREAST = 4  # panels in a row, at most
Look = Mapping[str, tuple[str, str]]  # architecture -> colour and marker


def draw(given: Given, *, methods: tuple[str, ...] = ()) -> theme.Page:
    table = metric_rows.whole(given.tables["estimates"])
    own = table[(table["metric"] == randomisation.NAME) & (table["method"].isin(methods) if methods else True)]
    steps = [randomisation.parsed(variant) for variant in own["variant"]]
    own = own.assign(order=[order for order, _ in steps], share=[share for _, share in steps])
    look = theme.palette([name for name in given.architectures if name in set(own["arch"])])
    shown = metric_rows.methods(own, given.controls) or [""]
    abreast = min(ABREAST, len(shown))
    down = ceil(len(shown) / abreast)
    low, high = theme.window(own, 0, 1)
    bounds = max(low, BOUNDS[0]), min(high, BOUNDS[1])
    figure = theme.page(1.1 + 1.35 * down)
    panels = figure.subplots(down, abreast, sharex=True, sharey=True, squeeze=False)
    for axes, method in zip(panels.flat, shown, strict=False):
        axes.set_title(method)
        _panel(axes, own[own["method"] == method], look)
    for axes in panels.flat[len(shown) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set(ylabel="Rank agreement", ylim=bounds)
    for axes in panels.flat[max(0, len(shown) - abreast) : len(shown)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("Modules randomised")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    lines = [Line2D([], [], color=theme.INK, linestyle=style, label=words) for words, style in ORDERS.values()]
    theme.legend(figure, [*(theme.swatch(name, *mark) for name, mark in look.items()), *lines])
    basis = theme.basis(own, given.level, theme.kind(given.tables["manifest"]))
    theme.note(figure, basis, _lost(own, shown), BEYOND if theme.beyond(own, bounds) else "")
    return figure


def _panel(axes: Axes, own: pd.DataFrame, look: Look) -> None:
    axes.axhline(0, color=theme.GREY, linewidth=0.8, zorder=1)
    axes.grid(axis="y")
    shares = sorted({0.0, *own["share"]})
    axes.set_xticks(shares)
    gap = min((b - a for a, b in pairwise(shares)), default=1.0)
    lines = list(product(look, ORDERS))
    for place, (arch, order) in enumerate(lines):
        shift = SPREAD * gap * ((place + 0.5) / len(lines) - 0.5)
        here = own[(own["arch"] == arch) & (own["order"] == order) & own["value"].notna()].sort_values("share")
        if here.empty:
            continue  # not asked of it
        across, up = [0.0, *(here["share"] + shift)], [1.0, *here["value"]]
        axes.plot(across, up, color=look[arch][0], linestyle=ORDERS[order][1], linewidth=1.0, zorder=3)
        for at, row in zip(across[1:], here.to_dict("records"), strict=True):
            _point(axes, at, row, *look[arch])
    axes.plot(0, 1, marker="o", color=theme.INK, markersize=3, zorder=5)


def _point(axes: Axes, at: float, row: metric_rows.Row, colour: str, marker: str) -> None:
    """A number over its interval; hollow where it has none."""
    sure = pd.notna(row["low"])
    if sure:
        axes.plot([at, at], [row["low"], row["high"]], color=colour, linewidth=0.9, alpha=0.35, zorder=2)
    face = colour if sure else "white"
    axes.plot(at, row["value"], marker=marker, color=colour, markerfacecolor=face, markersize=3.6, zorder=4)


def _lost(own: pd.DataFrame, methods: Sequence[str]) -> str:
    """How many scores are in no average, by method."""
    lost = {name: int(own.loc[own["method"] == name, ["n_degenerate", "n_failed"]].sum().sum()) for name in methods}
    words = ", ".join(f"{name} {count}" for name, count in lost.items() if count)
    return f"Scores without a value (a map constant or not finite): {words}." if words else ""
