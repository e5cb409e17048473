"""Images, maps and evidence side by side: Figures 2 and 3 of the paper, with images chosen by a rule (reporting/image_examples.py).

One row per image: the CT, then per architecture (one seed) the CT in grey under the evaluated map of the
predicted class, the outline of the evidence, and the model's answer with its calibrated probability. Every
map is scaled to its own maximum, so colours compare places within a map, never strength between maps. A
constant map is named, not drawn.
"""

from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes

from gradfaith.reporting.figures import overlay, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.reporting.figures.overlay import describe_shown_images
from gradfaith.reporting.image_examples import choose_images
from gradfaith.storage.hdf5 import MapStore

FIGURE = Figure(
    needs=("predictions", "scores", "images", "maps"),
    limits=("images >= 1", "0 <= seed_rank < seeds"),
    section="Example images",
    place=1,
    title="Images, maps and evidence",
)
LABEL_LETTERS = 20  # letters of a line under an image; names of classes can be long


def draw(
    inputs: FigureInputs,
    *,
    images: int = 5,
    seed_rank: int = 0,
    method: str = "",
    choice: Literal["median", "random"] = "median",
) -> theme.Page:
    assert inputs.images is not None
    method = method or inputs.primary.method
    seed = sorted(inputs.seeds)[seed_rank]
    stores = _stores_by_architecture(inputs, seed, method)
    archs = list(stores)  # those that have maps of the method
    table = predictions_with_maps(inputs.tables["predictions"], seed, stores)
    shown = choose_images(table, inputs.tables["scores"], inputs.primary, inputs.classes, count=images, choice=choice)
    side = min(1.4, (theme.PAGE_WIDTH - 0.9) / (len(archs) + 1) - 0.06)
    figure = theme.new_page(0.85 + len(shown) * (side + 0.21), (len(archs) + 1) * (side + 0.06) + 0.9)
    panels = figure.subplots(len(shown), len(archs) + 1, squeeze=False)
    answers = {(row["arch"], row["image_id"]): row for row in table.to_dict("records")}
    for line, image in zip(panels, shown, strict=True):
        pixels, evidence = overlay.load_image_and_evidence(inputs.images, image)
        overlay.draw_image(line[0], pixels, evidence)
        line[0].set_xlabel(overlay.wrap_name(f"true: {answers[archs[0], image]['label']}", LABEL_LETTERS), labelpad=3)
        for axes, arch in zip(line[1:], archs, strict=True):
            overlay.draw_image(axes, pixels, evidence)
            overlay.draw_map(axes, *overlay.load_display_map(stores[arch], method, image, pixels.shape[:2]))
            label_prediction(axes, answers[arch, image])
    font_size = overlay.font_size_to_fit(archs, side, 8.5)
    for axes, name in zip(panels[0], ("image", *archs), strict=True):
        axes.set_title(name, loc="center", fontsize=font_size)
    overlay.add_colour_bar(figure, panels, f"{method}, share of the map's maximum")
    theme.add_note(
        figure,
        f"Seed {seed}; {describe_shown_images(shown, inputs, choice)}",
        overlay.SCALING_NOTE,
    )
    return figure


def _stores_by_architecture(inputs: FigureInputs, seed: int, method: str) -> dict[str, MapStore]:
    """Return architecture -> its store that holds the method, in the study's order."""
    found = {arch: maps for (arch, number, _), maps in inputs.maps.items() if number == seed and method in maps.methods}
    return {arch: found[arch] for arch in inputs.architectures if arch in found}


def predictions_with_maps(predictions: pd.DataFrame, seed: int, stores: dict[str, MapStore]) -> pd.DataFrame:
    """Return the predictions of one seed on the images that every architecture has a map of.

    `stores`: architecture -> map store.
    """
    shared = set.intersection(*(set(maps.rows["image_id"]) for maps in stores.values()))
    return predictions[
        (predictions["seed"] == seed) & predictions["image_id"].isin(shared) & predictions["arch"].isin(stores)
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
