"""Degenerate maps: how many maps are constant or not finite, per method and architecture, with examples.

A constant map ranks no pixel, and a map that is not finite is no map. Metrics leave both out and count them,
so their averages are no longer over all images. Counted are the statuses in the stores (storage/hdf5.py),
over all images, classes and seeds, with controls, without shuffled copies: those repeat their method's
status. Methods without such maps are only counted. Below the table, for the methods that lose most, stands
the first image without a map, and what the map holds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes

from gradfaith.reporting import metric_rows
from gradfaith.reporting.escaping import one_line
from gradfaith.reporting.figures import overlay, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.storage.hdf5 import MapStore
from gradfaith.vocabulary import SHUFFLED

FIGURE = Figure(
    needs=("images", "maps", "manifest"),
    limits=("examples >= 0",),
    section="Methods and controls",
    place=7,
    title="Constant maps and maps that are not finite",
)
LINE_INCHES, EXAMPLE_INCHES = 0.27, 1.25  # inches: a line of the table, an example
NONE_LOST = "No map is constant and all are finite: {maps} maps of {methods} methods and controls were counted."


class LostMap(NamedTuple):
    """Where a map without values is: the seed of its model, the store, its row."""

    seed: int
    maps: MapStore
    row: int


def draw(inputs: FigureInputs, *, examples: int = 4) -> theme.Page:
    assert inputs.images is not None
    table = count_lost_maps(inputs)
    lost = table[table["lost"] > 0]
    if lost.empty:
        return theme.sentence_page(NONE_LOST.format(maps=table["maps"].sum(), methods=table["method"].nunique()))
    methods = [
        name for name in metric_rows.methods_in_display_order(table, inputs.controls) if name in set(lost["method"])
    ]
    archs = [name for name in inputs.architectures if name in set(table["arch"])]
    worst = lost.sort_values(["share", "method"], ascending=[False, True]).drop_duplicates("method")[:examples]
    below = EXAMPLE_INCHES + 0.75 if len(worst) else 0.0
    figure = theme.new_page(0.85 + LINE_INCHES * len(methods) + below)
    grid = figure.add_gridspec(2, 1, height_ratios=(LINE_INCHES * len(methods) + 0.3, below or 0.01))
    _draw_counts(figure.add_subplot(grid[0]), table, methods, archs)
    panels = grid[1].subgridspec(1, max(4, len(worst)))
    for place, row in enumerate(worst.to_dict("records")):
        _draw_example(figure.add_subplot(panels[place]), inputs, row["method"], row["arch"])
    theme.add_note(figure, *_count_notes(table, len(methods), inputs))
    return figure


def count_lost_maps(inputs: FigureInputs) -> pd.DataFrame:
    """Count maps by method and architecture: columns maps, degenerate, failed, lost (both), share (lost of maps)."""
    counts = [
        (label, arch, len(status), int((status == "degenerate").sum()), int((status == "failed").sum()))
        for (arch, _, _), maps in inputs.maps.items()
        for label in maps.methods
        if not label.startswith(SHUFFLED)
        for status in [maps.status(label, 0)]
    ]
    table = pd.DataFrame(counts, columns=["method", "arch", "maps", "degenerate", "failed"])
    table = table.groupby(["method", "arch"], sort=False, as_index=False).sum()
    table["lost"] = table["degenerate"] + table["failed"]
    return table.assign(share=table["lost"] / table["maps"])


def _count_notes(table: pd.DataFrame, listed: int, inputs: FigureInputs) -> tuple[str, ...]:
    small = " On a second line: maps that are not finite." if table["failed"].any() else ""
    others = table["method"].nunique() - listed
    return (
        f"Counted over at most {table['maps'].max()} maps per cell: {overlay.describe_stores(inputs)}, every class.{small}",
        f"None among the other {others} methods and controls." if others else "",
        "Shuffled copies are left out.",
    )


def _draw_counts(axes: Axes, table: pd.DataFrame, methods: Sequence[str], archs: Sequence[str]) -> None:
    cells = {(row["method"], row["arch"]): row for row in table.to_dict("records")}
    share = np.array([[cells[m, a]["share"] if (m, a) in cells else 0.0 for a in archs] for m in methods])
    full = max(0.5, share.max())  # a few maps lost stay pale
    texts = [["\n".join(_cell_texts(cells.get((method, arch)))) for arch in archs] for method in methods]
    seaborn.heatmap(
        share, annot=np.array(texts), fmt="", vmax=full, xticklabels=archs, yticklabels=methods,
        annot_kws={"fontsize": 6.2, "linespacing": 0.95}, ax=axes, **theme.HEAT_MAP,
    )  # fmt: skip
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0, labelrotation=0)


def _cell_texts(cell: metric_rows.TableRow | None) -> list[str]:
    """Return the lines of a cell: constant maps and their share, then those that are not finite."""
    if cell is None:
        return ["no map"]
    if not cell["lost"]:
        return ["none"]
    kinds = [("degenerate", "constant"), *([("failed", "not finite")] if cell["failed"] else [])]
    return [f"{cell[kind]} {words} ({100 * cell[kind] / cell['maps']:.2g} %)" for kind, words in kinds]


def _draw_example(axes: Axes, inputs: FigureInputs, method: str, arch: str) -> None:
    """Draw the first image without a map, and write what the map holds."""
    assert inputs.images is not None
    lost = _find_first_lost_map(inputs, method, arch)
    about = lost.maps.rows.iloc[lost.row]
    overlay.draw_image(axes, *overlay.load_image_and_evidence(inputs.images, str(about["image_id"])))
    axes.set_title(overlay.wrap_name(f"{method}, {arch}", 22), loc="center", fontsize=7)
    words = (
        f"{about['image_id']}, seed {lost.seed}",
        f"why {inputs.classes[int(about['target'])]}?",
        describe_lost_map(lost.maps.maps(method, 0, slice(lost.row, lost.row + 1))[0]),
    )
    axes.set_xlabel("\n".join(overlay.wrap_name(one_line(line), 30) for line in words), fontsize=6.2, labelpad=2)


def _find_first_lost_map(inputs: FigureInputs, method: str, arch: str) -> LostMap:
    return next(
        LostMap(seed, maps, int(lost[0]))
        for (name, seed, _), maps in inputs.maps.items()
        if name == arch and method in maps.methods
        for lost in [np.flatnonzero(maps.status(method, 0) != "ok")]
        if len(lost)
    )


def describe_lost_map(cells: overlay.ImageArray) -> str:  # (h, w)
    """Return what a map that cannot be drawn holds: one value, or cells that are not finite."""
    height, width = cells.shape
    broken = int((~np.isfinite(cells)).sum())
    if broken:
        return f"{broken} of {height * width} cells are not finite"
    low, high = float(cells.min()), float(cells.max())
    value = f"{low:.3g}" if low == high else f"{low:.3g}, to rounding"
    return f"all {height} x {width} cells are {value}"
