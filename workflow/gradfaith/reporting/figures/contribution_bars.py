"""The contributions to one row by every method and control side by side, in one order of features.

Each panel has its own scale, because LIME's coefficients and Shapley values have different units. What can be compared is the order,
the signs, and whether a control looks alike.
"""

from math import ceil
from typing import Literal

import numpy as np

from gradfaith.reporting.figures import explained_rows, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.reporting.figures.prediction_panel import draw_bars
from gradfaith.vocabulary import SHUFFLED

FIGURE = Figure(
    needs=("attributions", "table", "audit"), section="Explained rows", place=2, title="Contributions by method"
)
ABREAST = 4


def draw(
    inputs: FigureInputs, *, arch: str = "", row: Literal["highest", "median", "lowest"] = "highest"
) -> theme.Page:
    arch = arch or inputs.architectures[-1]
    table = inputs.tables["attributions"]
    methods = [
        name for name in dict.fromkeys(table.loc[table["arch"] == arch, "method"]) if not name.startswith(SHUFFLED)
    ]
    found = {name: explained_rows.explained_row(inputs, arch, name, row) for name in methods}
    first = next(one for one in found.values() if one is not None)
    order = np.argsort(-np.abs(first.attribution), kind="stable")
    lines = ceil(len(methods) / ABREAST)
    figure = theme.new_page(lines * (0.5 + 0.14 * len(order)) + 0.5)
    panels = figure.subplots(lines, ABREAST, squeeze=False)
    for axes in panels.flat[len(methods) :]:
        axes.set_visible(False)
    for number, (axes, (name, one)) in enumerate(zip(panels.flat, found.items(), strict=False)):
        assert one is not None  # every method of the table has explained every row
        draw_bars(axes, one, order)
        axes.set_title(name, color=theme.GREY if name in inputs.controls else theme.INK)
        if number % ABREAST == 0:
            labels = [f"{one.features[place]} = {one.values[place]}" for place in order]
            axes.set(yticks=range(len(order)), yticklabels=labels)
    theme.add_note(
        figure,
        f"Model {arch}, seed {min(inputs.seeds)}, {first.image_id} ({row} answer). Features in the order of {methods[0]}. "
        "Grey titles: controls, which do not use the model. Each panel has its own scale.",
    )
    return figure
