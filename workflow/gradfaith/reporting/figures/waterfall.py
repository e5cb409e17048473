"""How the features lead from the mean answer, at the bottom, up to the answer of one row: SHAP's waterfall plot.

Only for methods whose numbers add up: a gap between the last bar and the answer would be the additivity error.
"""

from typing import Literal

import numpy as np

from gradfaith.reporting.figures import explained_rows, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs

FIGURE = Figure(
    needs=("attributions", "table", "audit"),
    section="Explained rows",
    place=3,
    title="From the mean answer to the row's",
)


def draw(
    inputs: FigureInputs, *, method: str = "kernel_shap", row: Literal["highest", "median", "lowest"] = "highest"
) -> theme.Page:
    found = [explained_rows.explained_row(inputs, arch, method, row) for arch in inputs.architectures[-2:]]
    rows = [one for one in found if one is not None]
    if not rows:
        return theme.sentence_page(f"Method {method} has no attributions on {', '.join(inputs.architectures[-2:])}.")
    figure = theme.new_page(0.9 + 0.2 * len(rows[0].features))
    for axes, one in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows, strict=True):
        order = np.argsort(np.abs(one.attribution), kind="stable")  # the largest last, next to the answer
        steps = one.attribution[order]
        starts = one.base + np.concatenate([[0.0], np.cumsum(steps)[:-1]])
        colours = [theme.RAISES if step > 0 else theme.LOWERS for step in steps]
        lines = np.arange(len(order))  # from the bottom up
        axes.barh(lines, steps, left=starts, color=colours, height=0.7)
        for line, start, step in zip(lines, starts, steps, strict=True):
            axes.plot([start + step] * 2, [line - 0.35, line + 1.35], color=theme.GREY, linewidth=0.5)
            axes.text(max(start, start + step), line, f" {step:+.2f}", va="center", fontsize=6)
        for value in (one.base, one.answer):
            axes.axvline(value, color=theme.GREY, linewidth=0.6, linestyle=theme.DASHED, zorder=0)
        axes.set(yticks=lines, yticklabels=[f"{one.features[place]} = {one.values[place]}" for place in order])
        axes.set_title(f"{one.arch}: from {one.base:.2f} to {one.answer:.2f}")
        axes.set_xlabel(explained_rows.answer_name(inputs))
        axes.use_sticky_edges = False
        axes.margins(x=0.12)
    which = ", ".join(f"{one.image_id} on {one.arch}" for one in rows)
    theme.add_note(
        figure, f"{method}, seed {min(inputs.seeds)}: the explained row with the {row} answer of each model ({which})."
    )
    return figure
