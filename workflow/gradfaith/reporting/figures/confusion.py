"""Confusion matrices, one per architecture: Figure 4 of the paper.

Rows are true classes, columns predicted classes. Counts are of images of one part, summed over seeds, so an
image counts once per model. The colour is the share of the row: on the diagonal it is the sensitivity of the
class.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.stats.classification import confusion_table

FIGURE = Figure(needs=("predictions", "manifest"))
PER_ROW = 4


def draw(inputs: FigureInputs, *, part: str = "test") -> theme.Page:
    table, archs = inputs.tables["predictions"], list(inputs.architectures)
    counts = confusion_table(table, inputs.classes, part)
    down = -(-len(archs) // PER_ROW)
    across = -(-len(archs) // down)
    side = min(2.1, (theme.PAGE_WIDTH - 0.9) / across)
    figure = theme.new_page(0.6 + down * (side + 0.45), max(across * side + 0.9, 4.2))
    panels = figure.subplots(down, across, squeeze=False)
    for place, axes in enumerate(panels.flat):
        axes.set_visible(place < len(archs))
        if place < len(archs):
            picture = _draw_matrix(axes, counts[counts["arch"] == archs[place]], inputs.classes)
            axes.set(title=archs[place], xlabel="predicted class" if place + across >= len(archs) else "")
    for axes in panels[:, 0]:
        axes.set(ylabel="true class", yticklabels=inputs.classes)
    bar = figure.colorbar(
        picture, ax=panels, fraction=0.04, shrink=0.8, aspect=22, pad=0.02, label="share of the true class"
    )
    bar.outline.set_visible(False)
    theme.add_note(
        figure, *_basis_lines(table[table["part"] == part], part, theme.group_noun(inputs.tables["manifest"]))
    )
    return figure


def _draw_matrix(axes: Axes, counts: pd.DataFrame, classes: Sequence[str]) -> AxesImage:
    order = pd.MultiIndex.from_product([classes, classes], names=["label", "predicted"])
    table = counts.set_index(["label", "predicted"]).reindex(order)
    number, share = (table[what].to_numpy().reshape(len(classes), -1) for what in ("n", "share"))
    picture = axes.imshow(share, cmap=theme.SHARE_COLOURS, vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(number):
        ink = "white" if share[row, column] > 0.5 else theme.INK
        axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=ink, fontsize=8.5)
    axes.set(xticks=range(len(classes)), yticks=range(len(classes)), yticklabels=[])
    axes.set_xticklabels(classes, rotation=30, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return picture


def _basis_lines(table: pd.DataFrame, part: str, kind: str) -> tuple[str, str]:
    seeds, groups, images = (table[column].nunique() for column in ("seed", "group", "image_id"))
    summed = f", summed over {seeds} seeds" if seeds > 1 else ""
    return f"Counts of {part} images{summed}:", f"{groups} {kind}s, {images} images per model. Counts have no interval."
