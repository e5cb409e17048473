"""Maps that say nothing: how many are constant or not finite, per method and architecture, and where one was met.

A constant map ranks no pixel, one that is not finite is no map; metrics leave both out and count them, and what they then
average over is no longer all images. Counted are the statuses in the stores (storage/hdf5.py), over all images, classes and
seeds, controls among them, shuffled copies not: those repeat their method's. Methods without any are only counted. Below
the table, for the methods that lose most, the first image without a map where it loses most, and what stood in its place.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import overlay, theme
from gradfaith.reporting.figures.contract import Figure, Given
from gradfaith.storage.hdf5 import Maps
from gradfaith.vocabulary import SHUFFLED

FIGURE = Figure(needs=("images", "maps"), limits=("examples >= 0",))
LINE, SIDE = 0.27, 1.25  # inches: a line of the table, an example
NONE = "No map is constant, and none fails to be finite: {maps} maps of {methods} methods and controls were counted."


def draw(given: Given, *, examples: int = 4) -> theme.Page:
    assert given.images is not None
    table = counts(given)
    lost = table[table["lost"] > 0]
    if lost.empty:
        return _none(table)
    methods = [name for name in metric_rows.methods(table, given.controls) if name in set(lost["method"])]
    archs = [name for name in given.architectures if name in set(table["arch"])]
    worst = lost.sort_values(["share", "method"], ascending=[False, True]).drop_duplicates("method")[:examples]
    below = SIDE + 0.75 if len(worst) else 0.0
    figure = theme.page(0.85 + LINE * len(methods) + below)
    grid = figure.add_gridspec(2, 1, height_ratios=(LINE * len(methods) + 0.3, below or 0.01))
    _table(figure.add_subplot(grid[0]), table, methods, archs)
    panels = grid[1].subgridspec(1, max(4, len(worst)))
    for place, row in enumerate(worst.to_dict("records")):
        _example(figure.add_subplot(panels[place]), given, row["method"], row["arch"])
    theme.note(figure, *_notes(table, len(methods)))
    return figure


def counts(given: Given) -> pd.DataFrame:
    """Per method and architecture: maps, those that are constant, those that are not finite, and the share of both."""
    found = [
        (label, arch, len(status), int((status == "degenerate").sum()), int((status == "failed").sum()))
        for (arch, _, _), maps in given.maps.items()
        for label in maps.methods
        if not label.startswith(SHUFFLED)
        for status in [maps.status(label, 0)]
    ]
    table = pd.DataFrame(found, columns=["method", "arch", "maps", "degenerate", "failed"])
    table = table.groupby(["method", "arch"], sort=False, as_index=False).sum()
    table["lost"] = table["degenerate"] + table["failed"]
    return table.assign(share=table["lost"] / table["maps"])


def _notes(table: pd.DataFrame, listed: int) -> tuple[str, ...]:
    small = " Small, below: maps that are not finite." if table["failed"].any() else ""
    others = table["method"].nunique() - listed
    return (
        f"Counted over at most {table['maps'].max()} maps per cell: every image, class and seed.{small}",
        f"None among the other {others} methods and controls." if others else "",
        "Shuffled copies are left out.",
    )


def _none(table: pd.DataFrame) -> theme.Page:
    figure = theme.page(0.5)
    figure.text(0.012, 0.5, NONE.format(maps=table["maps"].sum(), methods=table["method"].nunique()), va="center")
    return figure


def _table(axes: Axes, table: pd.DataFrame, methods: Sequence[str], archs: Sequence[str]) -> None:
    cells = {(row["method"], row["arch"]): row for row in table.to_dict("records")}
    share = np.array([[cells[m, a]["share"] if (m, a) in cells else 0.0 for a in archs] for m in methods])
    full = max(0.5, share.max())  # a few maps lost stay pale
    axes.imshow(share, cmap=theme.SHADES, vmin=0, vmax=full, aspect="auto")
    for border in range(1, len(methods)):
        axes.axhline(border - 0.5, color="white", linewidth=1)
    for border in range(1, len(archs)):
        axes.axvline(border - 0.5, color="white", linewidth=1)
    for line, method in enumerate(methods):
        for column, arch in enumerate(archs):
            colour = "white" if share[line, column] > 0.55 * full else theme.INK
            words, small = _said(cells.get((method, arch)))
            up = 0.16 if small else 0.0
            axes.text(column, line - up, words, ha="center", va="center", color=colour, fontsize=6.8)
            axes.text(column, line + 0.3, small, ha="center", va="center", color=colour, fontsize=5.4)
    axes.set(xticks=range(len(archs)), xticklabels=archs, yticks=range(len(methods)), yticklabels=methods)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.spines[:].set_visible(False)


def _said(cell: metric_rows.Row | None) -> tuple[str, str]:
    """The words of a cell: constant maps and their share, and in small those that are not finite."""
    if cell is None:
        return "not asked", ""
    if not cell["lost"]:
        return "none", ""
    failed = f"{cell['failed']} not finite ({100 * cell['failed'] / cell['maps']:.2g} %)" if cell["failed"] else ""
    return f"{cell['degenerate']} constant ({100 * cell['degenerate'] / cell['maps']:.2g} %)", failed


def _example(axes: Axes, given: Given, method: str, arch: str) -> None:
    """The first image without a map, and in words what stands in its place."""
    assert given.images is not None
    seed, maps, row = _first(given, method, arch)
    about = maps.rows.iloc[row]
    overlay.under(axes, *overlay.picture(given.images, str(about["image_id"])))
    axes.set_title(overlay.broken(f"{method}, {arch}", 22), loc="center", fontsize=7)
    words = (
        f"{about['image_id']}, seed {seed}",
        f"why {given.classes[int(about['target'])]}?",
        constant(maps.maps(method, 0, slice(row, row + 1))[0]),
    )
    axes.set_xlabel("\n".join(overlay.broken(line, 30) for line in words), fontsize=6.2, labelpad=2)


def _first(given: Given, method: str, arch: str) -> tuple[int, Maps, int]:
    return next(
        (seed, maps, int(lost[0]))
        for (name, seed, _), maps in given.maps.items()
        if name == arch and method in maps.methods
        for lost in [np.flatnonzero(maps.status(method, 0) != "ok")]
        if len(lost)
    )


def constant(cells: overlay.Picture) -> str:  # (h, w)
    """What a map without a picture holds."""
    height, width = cells.shape
    broken = int((~np.isfinite(cells)).sum())
    if broken:
        return f"{broken} of {height * width} cells are not finite"
    low, high = float(cells.min()), float(cells.max())
    value = f"{low:.3g}" if low == high else f"{low:.3g}, to rounding"
    return f"all {height} x {width} cells are {value}"
