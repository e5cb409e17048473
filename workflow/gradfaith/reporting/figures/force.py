"""All contributions to one row on a single line, those that raise the answer against those that lower it: SHAP's force plot.

The two sides meet at the answer. The mean answer is the point from which their difference is counted.
"""

import numpy as np
from matplotlib.axes import Axes

from gradfaith.reporting.figures import explained_rows, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.reporting.figures.explained_rows import ExplainedRow, RowPlace

FIGURE = Figure(
    needs=("attributions", "table", "audit"), section="Explained rows", place=4, title="Raising against lowering"
)
FONT, LETTER = 5.5, 0.65  # points; width of a letter as a share of its size: names that do not fit a piece are left out


def draw(inputs: FigureInputs, *, arch: str = "", method: str = "kernel_shap") -> theme.Page:
    arch = arch or inputs.architectures[-1]
    places: tuple[RowPlace, ...] = ("highest", "median", "lowest")
    rows = [row for place in places if (row := explained_rows.explained_row(inputs, arch, method, place)) is not None]
    if not rows:
        return theme.sentence_page(f"Method {method} has no attributions on {arch}.")
    figure = theme.new_page(0.5 + 1.05 * len(rows))
    for axes, row in zip(figure.subplots(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
        _draw_force(axes, row)
    figure.axes[-1].set_xlabel(explained_rows.answer_name(inputs))
    theme.add_note(
        figure,
        f"{method} on {arch}, seed {min(inputs.seeds)}: the explained rows with the highest, median and lowest answer. "
        "Green pieces raise the answer, red ones lower it; they meet at the answer. Dashed: the mean answer.",
    )
    return figure


def _draw_force(axes: Axes, row: ExplainedRow) -> None:
    span = max(float(np.abs(row.attribution).sum()), 1e-9)
    for sign, colour in ((1.0, theme.RAISES), (-1.0, theme.LOWERS)):
        own = [
            place for place in np.argsort(-np.abs(row.attribution), kind="stable") if sign * row.attribution[place] > 0
        ]
        end = row.answer
        for number, place in enumerate(own):  # the largest piece is nearest to the answer
            start = end - row.attribution[place]
            axes.barh(0, row.attribution[place], left=start, height=0.5, color=colour, edgecolor="white", linewidth=0.8,
                      alpha=1 if number % 2 == 0 else 0.75)  # fmt: skip
            letters = max(len(row.features[place]), len(row.values[place]))
            if letters * LETTER * FONT < abs(row.attribution[place]) / span * theme.PAGE_WIDTH * 72:
                words = f"{row.features[place]}\n{row.values[place]}"
                axes.text((start + end) / 2, -0.33, words, ha="center", va="top", fontsize=FONT)
            end = start
    axes.axvline(row.base, color=theme.GREY, linestyle=theme.DASHED, linewidth=0.8, zorder=0)
    axes.plot([row.answer], [0.33], marker="v", color=theme.INK, markersize=4, clip_on=False)
    axes.set(yticks=[], ylim=(-1.0, 0.6))
    axes.set_title(f"{row.image_id}: answer {row.answer:.2f}, mean answer {row.base:.2f}")
    axes.spines["left"].set_visible(False)
