"""Model randomisation: rank agreement of maps with those of the trained model, as its weights become random.

One panel per method, so that twenty can be compared; in it one line per architecture and order of the
cascade: solid from the head down, dashed from the image up. At 0 % a map agrees with itself; a method that
uses the model falls towards 0. A method that stays high explains the image or the architecture. At 100 % both
orders are the same random network.
"""

from collections.abc import Sequence
from itertools import pairwise, product
from math import ceil

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from gradfaith import vocabulary
from gradfaith.metrics.maps import rank_correlation
from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs

FIGURE = Figure(
    needs=("estimates", "manifest"),
    section="Methods and controls",
    place=6,
    title="Maps of randomised models",
)
CASCADE_ORDERS = {"top_down": ("from the head down", "-"), "bottom_up": ("from the image up", theme.DASHED)}
CORRELATION_RANGE = -1.06, 1.06  # of a correlation, and room for the markers
EDGE_NOTE = "An interval that meets the edge of its panel continues beyond it; its ends are in maps.csv."
SPREAD = 0.4  # of the way to the next step, shared by all lines of a panel
MAX_PANELS_PER_ROW = 4  # panels in a row, at most


def draw(inputs: FigureInputs, *, methods: tuple[str, ...] = ()) -> theme.Page:
    table = metric_rows.rows_over_all_images(inputs.tables["estimates"])
    rows = table[(table["metric"] == vocabulary.RANDOMISATION) & (table["method"].isin(methods) if methods else True)]
    steps = [rank_correlation.parse_variant(variant) for variant in rows["variant"]]
    rows = rows.assign(order=[order for order, _ in steps], share=[share for _, share in steps])
    look = theme.palette([name for name in inputs.architectures if name in set(rows["arch"])])
    shown = metric_rows.methods_in_display_order(rows, inputs.controls) or [""]
    abreast = min(MAX_PANELS_PER_ROW, len(shown))
    down = ceil(len(shown) / abreast)
    low, high = theme.axis_range(rows, 0, 1)
    bounds = max(low, CORRELATION_RANGE[0]), min(high, CORRELATION_RANGE[1])
    figure = theme.new_page(1.1 + 1.35 * down)
    panels = figure.subplots(down, abreast, sharex=True, sharey=True, squeeze=False)
    for axes, method in zip(panels.flat, shown, strict=False):
        axes.set_title(method)
        _draw_panel(axes, rows[rows["method"] == method], look)
    for axes in panels.flat[len(shown) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set(ylabel="Rank agreement", ylim=bounds)
    for axes in panels.flat[max(0, len(shown) - abreast) : len(shown)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("Modules randomised")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    lines = [Line2D([], [], color=theme.INK, linestyle=style, label=words) for words, style in CASCADE_ORDERS.values()]
    theme.add_legend(figure, [*(theme.legend_entry(name, *mark) for name, mark in look.items()), *lines])
    basis = theme.describe_basis(rows, inputs.level, metric_rows.group_noun(inputs.tables["manifest"]))
    theme.add_note(
        figure, basis, _lost_scores_note(rows, shown), EDGE_NOTE if theme.any_interval_beyond(rows, bounds) else ""
    )
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, look: theme.Marks) -> None:
    axes.axhline(0, color=theme.GREY, linewidth=0.8, zorder=1)
    axes.grid(axis="y")
    shares = sorted({0.0, *rows["share"]})
    axes.set_xticks(shares)
    gap = min((b - a for a, b in pairwise(shares)), default=1.0)
    lines = list(product(look, CASCADE_ORDERS))
    for place, (arch, order) in enumerate(lines):
        shift = SPREAD * gap * ((place + 0.5) / len(lines) - 0.5)
        here = rows[(rows["arch"] == arch) & (rows["order"] == order) & rows["value"].notna()].sort_values("share")
        if here.empty:
            continue  # not computed for it
        across, up = [0.0, *(here["share"] + shift)], [1.0, *here["value"]]
        axes.plot(across, up, color=look[arch][0], linestyle=CASCADE_ORDERS[order][1], linewidth=1.0, zorder=3)
        for at, row in zip(across[1:], here.to_dict("records"), strict=True):
            _draw_point(axes, at, row, *look[arch])
    axes.plot(0, 1, marker="o", color=theme.INK, markersize=3, zorder=5)


def _draw_point(axes: Axes, at: float, row: metric_rows.TableRow, colour: str, marker: str) -> None:
    """Draw an estimate over its interval; hollow if it has none."""
    sure = pd.notna(row["low"])
    if sure:
        axes.plot([at, at], [row["low"], row["high"]], color=colour, linewidth=0.9, alpha=0.35, zorder=2)
    face = colour if sure else "white"
    axes.plot(at, row["value"], marker=marker, color=colour, markerfacecolor=face, markersize=3.6, zorder=4)


def _lost_scores_note(rows: pd.DataFrame, methods: Sequence[str]) -> str:
    """Return how many scores are in no average, by method."""
    lost = {name: int(rows.loc[rows["method"] == name, ["n_degenerate", "n_failed"]].sum().sum()) for name in methods}
    words = ", ".join(f"{name} {count}" for name, count in lost.items() if count)
    return f"Scores without a value (a map constant or not finite): {words}." if words else ""
