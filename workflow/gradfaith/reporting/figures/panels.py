"""Images, maps and evidence side by side: Figures 2 and 3 of the paper, with images chosen by a rule (reporting/image_examples.py).

One row per image: the image, then per architecture (one seed) the image in grey under the evaluated map of the
predicted class, the outline of the evidence, and the model's answer with its calibrated probability. The last column is a
control on the first architecture, so that the eye has a map to compare with that shows nothing of the model. Every
map has its own scale, so colours compare places within a map, never strength between maps. A
constant map is named, not drawn.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import overlay, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.reporting.figures.overlay import describe_shown_images
from gradfaith.reporting.image_examples import choose_images
from gradfaith.storage.hdf5 import ImageStore, MapStore

FIGURE = Figure(
    needs=("predictions", "scores", "images", "maps", "manifest"),
    limits=("images >= 1", "0 <= seed_rank < seeds"),
    section="Example images",
    place=1,
    title="Images, maps and evidence",
)
LABEL_LETTERS = 20  # letters of a line under an image; names of classes can be long
MARGIN_INCHES, GAP_INCHES = 0.75, 0.09  # for the colour bar, and between panels


@dataclass(frozen=True)
class Column:
    """A column of maps: its title, their store and method, and the architecture whose answers are below; "": none are."""

    title: str
    store: MapStore
    method: str
    arch: str = ""


def draw(
    inputs: FigureInputs,
    *,
    images: int = 5,
    seed_rank: int = 0,
    method: str = "",
    control: str = "",
    choice: Literal["median", "random"] = "median",
    width: Literal["single", "double"] = "double",
) -> theme.Page:
    assert inputs.images is not None
    method, seed = method or inputs.primary.method, sorted(inputs.seeds)[seed_rank]
    stores = _stores_by_architecture(inputs, seed, method)
    archs = list(stores)  # those that have maps of the method
    columns = [Column(arch, stores[arch], method, arch) for arch in archs]
    columns += _control_column(inputs, archs[0], seed, control)
    table = predictions_with_maps(inputs.tables["predictions"], seed, stores, [column.store for column in columns])
    shown = choose_images(table, inputs.tables["scores"], inputs.primary, inputs.classes, count=images, choice=choice)
    across = 1 + len(columns)
    side = min(1.4, (theme.WIDTHS[width] - MARGIN_INCHES) / across - GAP_INCHES)
    figure = theme.new_page(0.85 + len(shown) * (side + 0.21), across * (side + GAP_INCHES) + MARGIN_INCHES)
    panels = figure.subplots(len(shown), across, squeeze=False)
    answers = {(row["arch"], row["image_id"]): row for row in table.to_dict("records")}
    size = overlay.font_size_to_fit(["x" * LABEL_LETTERS], side, 7.5)
    for line, image in zip(panels, shown, strict=True):
        _draw_row(line, inputs.images, image, columns, answers)
        for axes in line:
            axes.xaxis.label.set_fontsize(size)
    names = ["image", *(column.title for column in columns)]
    for axes, name in zip(panels[0], names, strict=True):
        axes.set_title(name, loc="center", fontsize=overlay.font_size_to_fit(names, side, 8))
    overlay.add_colour_bar(figure, panels, f"{method}, share of the map's scale")
    theme.add_note(figure, f"Seed {seed}; {describe_shown_images(shown, inputs, choice)}", overlay.SCALING_NOTE)
    return figure


def _draw_row(
    line: Sequence[Axes],
    images: ImageStore,
    image: str,
    columns: Sequence[Column],
    answers: Mapping[tuple[str, str], Mapping[Any, Any]],
) -> None:
    """Draw one image, and beside it its map of every column."""
    pixels, evidence = overlay.load_image_and_evidence(images, image)
    overlay.draw_image(line[0], pixels, evidence)
    true = answers[columns[0].arch, image]["label"]
    line[0].set_xlabel(overlay.wrap_name(f"true: {true}", LABEL_LETTERS), labelpad=3)
    for axes, column in zip(line[1:], columns, strict=True):
        overlay.draw_image(axes, pixels, evidence)
        overlay.draw_map(axes, *overlay.load_display_map(column.store, column.method, image, pixels.shape[:2]))
        if column.arch:
            label_prediction(axes, answers[column.arch, image])


def _stores_by_architecture(inputs: FigureInputs, seed: int, method: str) -> dict[str, MapStore]:
    """Return architecture -> its store that holds the method, in the study's order."""
    found = {arch: maps for (arch, number, _), maps in inputs.maps.items() if number == seed and method in maps.methods}
    return {arch: found[arch] for arch in inputs.architectures if arch in found}


def _control_column(inputs: FigureInputs, arch: str, seed: int, wanted: str) -> list[Column]:
    """Return the column of a control: the one wanted, that of the primary comparison, or else the first with maps."""
    own = [maps for (name, number, _), maps in inputs.maps.items() if (name, number) == (arch, seed)]
    found = {label: maps for maps in own for label in maps.methods if metric_rows.is_control(label, inputs.controls)}
    label = next((name for name in (wanted, inputs.primary.against, *inputs.controls) if name in found), "")
    return [Column("control:\n" + overlay.wrap_name(label, 16), found[label], label)] if label else []


def predictions_with_maps(
    predictions: pd.DataFrame, seed: int, archs: Collection[str], stores: Iterable[MapStore]
) -> pd.DataFrame:
    """Return the predictions of some architectures, with one seed, on the images that all of some stores have maps of."""
    shared = set.intersection(*(set(maps.rows["image_id"]) for maps in stores))
    return predictions[
        (predictions["seed"] == seed) & predictions["image_id"].isin(shared) & predictions["arch"].isin(archs)
    ]


def label_prediction(axes: Axes, row: Mapping[Any, Any]) -> None:
    """Write the model's answer (a row of the predictions) under a panel, and mark a wrong one."""
    answer, right = row["predicted"], bool(row["correct"])
    axes.set_xlabel(
        overlay.wrap_name(f"{answer} {row[f'calibrated_{answer}']:.2f}", LABEL_LETTERS),
        labelpad=3,
        color=theme.INK if right else theme.WRONG,
    )
    if not right:
        tag = {"boxstyle": "square,pad=0.25", "facecolor": theme.WRONG, "edgecolor": "none"}
        place: dict[str, Any] = {"transform": axes.transAxes, "ha": "left", "va": "top"}
        axes.text(0.03, 0.97, "wrong", color="white", fontsize=7, bbox=tag, zorder=6, **place)
        axes.spines[:].set(visible=True, color=theme.WRONG, linewidth=1.6)
