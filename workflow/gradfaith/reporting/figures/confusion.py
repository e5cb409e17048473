"""Confusion matrices, one per architecture: Figure 4 of the paper.

Rows are true classes, columns predicted classes. A cell holds its share of the row in percent, which is also its colour (on
the diagonal it is the sensitivity of the class), and below it the number of images. Counts are of images of one part, summed
over seeds, so an image counts once per model.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.ticker import PercentFormatter

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.stats.classification import confusion_table

FIGURE = Figure(
    needs=("predictions", "manifest"),
    section="Classification",
    place=2,
    title="Confusion matrices",
)
ABREAST = {"single": 2, "double": 4}  # panels side by side, at most
MARGIN_INCHES = 0.9  # for labels and the colour bar
COLOUR_BAR: dict[str, Any] = {"fraction": 0.04, "shrink": 0.8, "aspect": 22, "pad": 0.02}


def draw(inputs: FigureInputs, *, part: str = "test", width: Literal["single", "double"] = "double") -> theme.Page:
    table, archs = inputs.tables["predictions"], list(inputs.architectures)
    counts = confusion_table(table, inputs.classes, part)
    down = -(-len(archs) // ABREAST[width])
    across = -(-len(archs) // down)
    side = min(2.1, (theme.WIDTHS[width] - MARGIN_INCHES) / across)
    figure = theme.new_page(0.6 + down * (side + 0.45), max(across * side + MARGIN_INCHES, theme.WIDTHS["single"]))
    panels = figure.subplots(down, across, squeeze=False)
    for place, axes in enumerate(panels.flat):
        axes.set_visible(place < len(archs))
        if place < len(archs):
            colours = _draw_matrix(axes, counts[counts["arch"] == archs[place]], inputs.classes)
            axes.set(title=archs[place], xlabel="predicted class" if place + across >= len(archs) else "")
    for axes in panels[:, 0]:
        axes.set(ylabel="true class", yticklabels=inputs.classes)
    bar = figure.colorbar(colours, ax=panels, format=PercentFormatter(1), label="share of the true class", **COLOUR_BAR)
    bar.outline.set_visible(False)
    theme.add_note(
        figure, *_basis_lines(table[table["part"] == part], part, metric_rows.group_noun(inputs.tables["manifest"]))
    )
    return figure


def _draw_matrix(axes: Axes, counts: pd.DataFrame, classes: Sequence[str]) -> Collection:
    order = pd.MultiIndex.from_product([classes, classes], names=["label", "predicted"])
    table = counts.set_index(["label", "predicted"]).reindex(order)
    number, share = (table[what].to_numpy().reshape(len(classes), -1) for what in ("n", "share"))
    texts = [_cell_text(*cell) for cell in zip(number.ravel(), share.ravel(), strict=True)]
    seaborn.heatmap(
        np.nan_to_num(share), annot=np.array(texts).reshape(share.shape), fmt="", vmax=1, xticklabels=classes, yticklabels=False,
        square=True, annot_kws={"fontsize": 7, "linespacing": 1.15}, ax=axes, **theme.HEAT_MAP,
    )  # fmt: skip
    axes.set_xticklabels(classes, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(np.arange(len(classes)) + 0.5, [""] * len(classes))
    axes.tick_params(length=0)
    return axes.collections[0]


def _cell_text(number: float, share: float) -> str:
    """Return the share of a cell in percent, and its number of images below."""
    return f"{100 * share:.0f} %\n{number:.0f}" if np.isfinite(share) else f"-\n{number:.0f}"


def _basis_lines(table: pd.DataFrame, part: str, kind: str) -> tuple[str, str]:
    seeds, groups, images = (table[column].nunique() for column in ("seed", "group", "image_id"))
    summed = f", summed over {seeds} seeds" if seeds > 1 else ""
    cell = f"Cells: share of the true class, and number of {part} images{summed}."
    return cell, f"{groups} {kind}s, {images} images per model. Counts have no interval."
