"""Confusion matrices, one per architecture: Figure 4 of the paper.

Rows are true classes, columns predicted ones; counts are of images of the test part, summed over seeds, so an image counts
once per model. The colour is the share of the row: the diagonal's is the sensitivity of the class.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from gradfaith.figures import theme
from gradfaith.figures.contract import Figure, Given

FIGURE = Figure(needs=("predictions", "manifest"))
PER_ROW = 4


def draw(given: Given, *, part: str = "test") -> theme.Figure:
    table = given.tables["predictions"]
    table, archs = table[table["part"] == part], list(given.architectures)
    across = min(PER_ROW, len(archs))
    down = -(-len(archs) // across)
    side = min(2.1, theme.WIDTH / across)
    figure = theme.page(0.65 + down * side * 0.98, max(across * side + 0.9, 4.2))
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, arch in zip(panels, archs, strict=False):
        picture = _matrix(axes, counts(table[table["arch"] == arch], given.classes), given.classes)
        axes.set_title(arch)
        axes.set_yticklabels(given.classes if axes.get_subplotspec().is_first_col() else [])
    for axes in panels[len(archs) :]:
        axes.set_visible(False)
    panels[0].set_ylabel("true class")
    figure.colorbar(
        picture, ax=panels, shrink=0.8, aspect=22, pad=0.02, label="share of the true class"
    ).outline.set_visible(False)
    groups, images = table["group"].nunique(), table["image_id"].nunique()
    word, seeds = theme.kind(given.tables["manifest"]), table["seed"].nunique()
    theme.note(
        figure,
        f"Columns: predicted class. Counts of {part} images, summed over {seeds} seed{'s' if seeds > 1 else ''}:",
        f"{groups} {word}s, {images} images per model. Counts have no interval.",
    )
    return figure


def counts(table: pd.DataFrame, classes: Sequence[str]) -> NDArray[np.int64]:  # (k, k)
    """How many images of each true class (row) were given each class (column)."""
    matrix = pd.crosstab(table["label"], table["predicted"]).reindex(index=classes, columns=classes, fill_value=0)
    return matrix.to_numpy(np.int64)


def _matrix(axes: Axes, matrix: NDArray[np.int64], classes: Sequence[str]) -> AxesImage:
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(share, cmap=theme.SHADES, vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        ink = "white" if share[row, column] > 0.5 else theme.INK
        axes.text(column, row, f"{count}", ha="center", va="center", color=ink, fontsize=8.5)
    places = range(len(matrix))
    axes.set(xticks=places, yticks=places)
    axes.set_xticklabels(classes, rotation=30, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return picture
