"""Model randomisation: rank agreement of maps with those of the trained model, as its weights become random.

One panel per method, so that twenty can be compared; in it one line per architecture and order of the
cascade: solid from the head down, dashed from the image up. At 0 % a map agrees with itself; a method that
uses the model falls towards 0. A method that stays high explains the image or the architecture. At 100 % both
orders are the same random network. The panels are sorted: the first method depends on the weights most, which is the lowest
agreement with the random network, averaged over the architectures.
"""

from collections.abc import Sequence
from itertools import pairwise, product
from math import ceil
from typing import Literal

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from gradfaith import vocabulary
from gradfaith.metrics.maps import rank_correlation
from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import marks, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs

FIGURE = Figure(
    needs=("estimates", "manifest"),
    section="Methods and controls",
    place=6,
    title="Maps of randomised models",
)
CASCADE_ORDERS = {"top_down": ("from the head down", "-"), "bottom_up": ("from the image up", theme.DASHED)}
CORRELATION_RANGE = -1.0, 1.0
EDGE_NOTE = "Arrow: the interval continues beyond its panel; maps.csv has its ends."
SPREAD = 0.4  # of the way to the next step, shared by all lines of a panel
ABREAST = {"single": 2, "double": 4}  # panels side by side, at most
PANEL_INCHES = 1.2


def draw(
    inputs: FigureInputs, *, methods: tuple[str, ...] = (), width: Literal["single", "double"] = "double"
) -> theme.Page:
    table = metric_rows.rows_over_all_images(inputs.tables["estimates"])
    rows = table[(table["metric"] == vocabulary.RANDOMISATION) & (table["method"].isin(methods) if methods else True)]
    steps = [rank_correlation.parse_variant(variant) for variant in rows["variant"]]
    rows = rows.assign(order=[order for order, _ in steps], share=[share for _, share in steps])
    look = theme.palette([name for name in inputs.architectures if name in set(rows["arch"])])
    shown = list(methods) or _sorted_by_dependence(rows, inputs.controls) or [""]
    abreast = min(ABREAST[width], len(shown))
    down = ceil(len(shown) / abreast)
    bounds = theme.axis_range(rows, 0, 1, bounds=CORRELATION_RANGE)
    figure = theme.new_page(1.1 + PANEL_INCHES * down, theme.WIDTHS[width])
    panels = figure.subplots(down, abreast, sharex=True, sharey=True, squeeze=False)
    for axes, method in zip(panels.flat, shown, strict=False):
        axes.set_title(method)
        _draw_panel(axes, rows[rows["method"] == method], marks.Marks(look, True, bounds, size=3.4, pale=True))
    for axes in panels.flat[len(shown) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set(ylabel=theme.metric_axis_label("Rank agreement", "lower", upright=True), ylim=bounds)
    for axes in panels.flat[max(0, len(shown) - abreast) : len(shown)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("Modules randomised")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    lines = [Line2D([], [], color=theme.INK, linestyle=style, label=words) for words, style in CASCADE_ORDERS.values()]
    theme.add_legend(figure, [*marks.architecture_entries(look), *lines])
    basis = theme.describe_basis(rows, inputs.level, metric_rows.group_noun(inputs.tables["manifest"]))
    cut = theme.any_interval_beyond(rows, bounds)
    theme.add_note(figure, basis, _lost_scores_note(rows, shown), EDGE_NOTE if cut else "")
    return figure


def _sorted_by_dependence(rows: pd.DataFrame, controls: Sequence[str]) -> list[str]:
    """Return the methods, the lowest agreement with the fully random network first; those without a value last."""
    random = rows[rows["share"] == rows["share"].max()].groupby("method")["value"].mean()
    known = [str(name) for name in random.dropna().sort_values(kind="stable").index]
    return known + [name for name in metric_rows.methods_in_display_order(rows, controls) if name not in known]


def _draw_panel(axes: Axes, rows: pd.DataFrame, how: marks.Marks) -> None:
    """Draw a line per architecture and order of the cascade, side by side at each step."""
    axes.axhline(0, color=theme.GREY, linewidth=0.8, zorder=1)
    axes.grid(axis="y")
    shares = sorted({0.0, *rows["share"]})
    axes.set_xticks(shares)
    gap = min((b - a for a, b in pairwise(shares)), default=1.0)
    places = list(product(how.look, CASCADE_ORDERS))
    shift = {line: SPREAD * gap * ((place + 0.5) / len(places) - 0.5) for place, line in enumerate(places)}
    lines = zip(rows["arch"], rows["order"], strict=True)
    rows = rows.assign(at=rows["share"] + [shift[line] for line in lines], name=rows["arch"], control=False)
    rows = rows[rows["value"].notna()].sort_values("share")
    for arch, order in places:
        here = rows[(rows["arch"] == arch) & (rows["order"] == order)]
        if len(here):  # else not computed for it
            seaborn.lineplot(
                x=[0.0, *here["at"]], y=[1.0, *here["value"]], color=how.look[arch][0], linestyle=CASCADE_ORDERS[order][1],
                linewidth=1.0, errorbar=None, estimator=None, ax=axes, zorder=3,
            )  # fmt: skip
    marks.draw_estimates(axes, rows, how)
    axes.plot(0, 1, marker="o", color=theme.INK, markersize=3, zorder=5, clip_on=False)


def _lost_scores_note(rows: pd.DataFrame, methods: Sequence[str]) -> str:
    """Return how many scores are in no average, by method."""
    lost = {name: int(rows.loc[rows["method"] == name, ["n_degenerate", "n_failed"]].sum().sum()) for name in methods}
    words = ", ".join(f"{name} {count}" for name, count in lost.items() if count)
    return f"Scores without a value (a map constant or not finite): {words}." if words else ""
