"""The metrics, judged: how they rank methods beside the evidence, and which maps that know nothing please them.

After Figures 4 and 1 of "How to evaluate and refine your CAM". Left: the correlation with the truth, over methods that look into the
model: within an image, and over cells (a method of a model); grey, methods and controls together, which mostly says that the two
differ. Right: on what share of images a control scores above the median method; 50 % is a draw. A frame says that the
control is above the median method with its whole interval, in the metric's own unit; a thick one, above the best method.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import Figure, Given
from gradfaith.reporting.metric_rows import Column

FIGURE = Figure(needs=("meta", "manifest"))
LINES = (
    ("image", "methods", "within an image"),
    ("cells", "methods", "over cells"),
    ("image", "together", "with controls, within an image"),
)
STEP = 0.24  # between the points of a metric
FRAMED = "Framed: the control is above the median method, its interval wholly so; thick: above the best method."


def draw(
    given: Given, *, arch: str = "", truth: str = "", coefficient: Literal["spearman", "pearson"] = "spearman"
) -> theme.Page:
    table = given.tables["meta"]
    truth = truth or next(name for name in table["truth"] if name)
    columns = metric_rows.judged(table, truth)
    here = table[table["arch"] == arch]
    ranked = here[(here["truth"] == truth) & (here["measure"] == coefficient)]
    controls = here[here["view"] == "controls"]
    figure = theme.page(1.9 + 0.27 * len(columns))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.05))
    own = pd.concat([ranked[(ranked["view"] == view) & (ranked["who"] == who)] for view, who, _ in LINES])
    shown = _ranks(left, own, columns)
    left.set_xlabel(f"{coefficient.capitalize()} with {metric_rows.words(truth)}")
    _grid(right, controls, columns)
    names = [metric_rows.words(metric) + (f" ({variant})" if variant else "") for metric, variant in columns]
    left.set(yticks=range(len(columns)), yticklabels=names, ylim=(len(columns) - 0.4, -0.6))
    left.set_title(arch or "all architectures")
    right.set_title("Above the median method, % of images")
    colours = _colours()
    entries = [theme.swatch(said, *colours[place], control=place == 2) for place, (*_, said) in enumerate(LINES)]
    theme.legend(figure, entries)
    basis = theme.basis(own, given.level, theme.kind(given.tables["manifest"]))
    theme.note(figure, basis, FRAMED, theme.ARROWS.replace("maps.csv", "meta.csv") if theme.beyond(own, shown) else "")
    return figure


def _colours() -> list[tuple[str, str]]:
    return [(theme.COLOURS[0], "o"), (theme.COLOURS[1], "s"), (theme.GREY, "D")]


def _ranks(axes: Axes, ranked: pd.DataFrame, columns: Sequence[Column]) -> theme.Window:
    """A point per metric and view."""
    low, high = theme.window(ranked, 0.0, 1.0)
    shown = max(low, -1.06), min(high, 1.06)
    axes.axvline(0, color=theme.GREY, linewidth=0.8, linestyle=":")
    axes.grid(axis="x")
    for (view, who, _), look, shift in zip(LINES, _colours(), (-STEP, 0, STEP), strict=True):
        own = ranked[(ranked["view"] == view) & (ranked["who"] == who)]
        for place, column in enumerate(columns):
            for row in metric_rows.of_metric(own, *column).to_dict("records"):
                if pd.notna(row["value"]):
                    theme.dot(axes, row, place + shift, *look, control=who == "together", shown=shown)
    for place, column in enumerate(columns):
        if metric_rows.of_metric(ranked, *column)["value"].isna().all():
            axes.text(
                0.02,
                place,
                "no rank, or the truth itself",
                transform=axes.get_yaxis_transform(),
                fontsize=6,
                va="center",
                color=theme.GREY,
            )
    axes.set_xlim(shown)
    return shown


def _grid(axes: Axes, controls: pd.DataFrame, columns: Sequence[Column]) -> None:
    """A cell per metric and control: the share, and a frame where the metric is fooled."""
    names = list(dict.fromkeys(controls["who"]))
    shares = np.full((len(columns), len(names)), np.nan)
    for place, column in enumerate(columns):
        own = metric_rows.of_metric(controls, *column)
        cells = own[own["measure"] == "beats the median"].set_index("who")["value"]
        shares[place] = [cells.get(name, np.nan) for name in names]
        for measure, width in (("over the median", 0.9), ("over the best", 2.0)):
            for name in own.loc[(own["measure"] == measure) & own["fooled"], "who"]:
                corner = names.index(name) - 0.46, place - 0.44
                axes.add_patch(
                    Rectangle(corner, 0.92, 0.88, fill=False, edgecolor=theme.WRONG, linewidth=width, zorder=4)
                )
    axes.imshow(shares, cmap=theme.SHADES, vmin=0, vmax=1, aspect="auto", zorder=1)
    for (place, spot), share in np.ndenumerate(shares):
        text = "-" if np.isnan(share) else f"{100 * share:.0f}"
        dark = share > 0.6
        axes.text(
            spot, place, text, ha="center", va="center", fontsize=6.3, color="white" if dark else theme.INK, zorder=5
        )
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.tick_params(axis="both", length=0)
    axes.spines[:].set_visible(False)
