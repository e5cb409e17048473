"""Confusion matrices, one per architecture: Figure 4 of the paper.

Rows are true classes, columns predicted classes. Counts are of images of one part, summed over seeds, so an
image counts once per model. The colour is the share of the row: on the diagonal it is the sensitivity of the
class.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.collections import Collection

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
            colours = _draw_matrix(axes, counts[counts["arch"] == archs[place]], inputs.classes)
            axes.set(title=archs[place], xlabel="predicted class" if place + across >= len(archs) else "")
    for axes in panels[:, 0]:
        axes.set(ylabel="true class", yticklabels=inputs.classes)
    bar = figure.colorbar(
        colours, ax=panels, fraction=0.04, shrink=0.8, aspect=22, pad=0.02, label="share of the true class"
    )
    bar.outline.set_visible(False)
    theme.add_note(
        figure, *_basis_lines(table[table["part"] == part], part, metric_rows.group_noun(inputs.tables["manifest"]))
    )
    return figure


def _draw_matrix(axes: Axes, counts: pd.DataFrame, classes: Sequence[str]) -> Collection:
    order = pd.MultiIndex.from_product([classes, classes], names=["label", "predicted"])
    table = counts.set_index(["label", "predicted"]).reindex(order)
    number, share = (table[what].to_numpy().reshape(len(classes), -1) for what in ("n", "share"))
    seaborn.heatmap(
        np.nan_to_num(share), annot=number, fmt=".0f", vmax=1, xticklabels=classes, yticklabels=False, square=True,
        annot_kws={"fontsize": 8.5}, ax=axes, **theme.HEAT_MAP,
    )  # fmt: skip
    axes.set_xticklabels(classes, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(np.arange(len(classes)) + 0.5, [""] * len(classes))
    axes.tick_params(length=0)
    return axes.collections[0]


def _basis_lines(table: pd.DataFrame, part: str, kind: str) -> tuple[str, str]:
    seeds, groups, images = (table[column].nunique() for column in ("seed", "group", "image_id"))
    summed = f", summed over {seeds} seeds" if seeds > 1 else ""
    return f"Counts of {part} images{summed}:", f"{groups} {kind}s, {images} images per model. Counts have no interval."
