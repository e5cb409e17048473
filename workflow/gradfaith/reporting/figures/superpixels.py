"""The strongest superpixels of the surrogates: what LIME and KernelSHAP find for the class, and against it.

One row per image, chosen by a rule (reporting/image_examples.py): the image, then for each surrogate of one
model the same image with its strongest superpixels filled: green and crossed if they raise the score, red and
barred if they lower it. Strength is the size of a superpixel's weight; all are filled alike, because weights
of different images and methods have no common scale. Below each method stands how far two seeds of half the
samples agree: below about 0.8 the choice of superpixels is partly chance.
"""

from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch
from numpy.typing import NDArray

from gradfaith.reporting.figures import overlay, panels, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.reporting.image_examples import choose_images
from gradfaith.storage.hdf5 import MapStore

FIGURE = Figure(
    needs=("predictions", "scores", "images", "maps", "manifest"),
    limits=("images >= 1", "strongest >= 1", "0 <= seed_rank < seeds"),
    section="Example images",
    place=3,
    title="The strongest superpixels",
)
RAISES_SCORE, LOWERS_SCORE = (theme.RAISES, "+++"), (theme.LOWERS, "---")
STRENGTH_NOTE = "At most {strongest} superpixels, the largest weights of either sign."
AGREEMENT_NOTE = "Below each: superpixels in all, and the rank correlation of two seeds of half the samples."
NO_SURROGATE = "No method of this study fits a surrogate on superpixels."


def draw(
    inputs: FigureInputs,
    *,
    arch: str = "",
    seed_rank: int = 0,
    images: int = 3,
    strongest: int = 8,
    choice: Literal["median", "random"] = "median",
    width: Literal["single", "double"] = "double",
) -> theme.Page:
    assert inputs.images is not None
    model = (arch or inputs.architectures[0], sorted(inputs.seeds)[seed_rank])
    found = _stores_by_surrogate(inputs, model)
    if not found:
        return theme.sentence_page(NO_SURROGATE)
    table = panels.predictions_with_maps(inputs.tables["predictions"], model[1], [model[0]], found.values())
    shown = choose_images(table, inputs.tables["scores"], inputs.primary, inputs.classes, count=images, choice=choice)
    side = min(1.9, theme.WIDTHS[width] / (len(found) + 1) - 0.12)
    figure = theme.new_page(
        0.8 + len(shown) * (side + 0.25), min(theme.WIDTHS[width], (len(found) + 1) * (side + 0.12) + 0.5)
    )
    axes = figure.subplots(len(shown), len(found) + 1, squeeze=False)
    answers = table.set_index("image_id").to_dict("index")
    for line, image in zip(axes, shown, strict=True):
        pixels, evidence = overlay.load_image_and_evidence(inputs.images, image)
        for place in line:
            overlay.draw_image(place, pixels, evidence)
        panels.label_prediction(line[0], answers[image])
        for place, (method, maps) in zip(line[1:], found.items(), strict=True):
            place.set_xlabel(_fill_superpixels(place, maps, method, image, strongest), labelpad=3)
    for place, name in zip(axes[0], ("image", *found), strict=True):
        place.set_title(name, loc="center")
    signs = {"raises the score": RAISES_SCORE, "lowers it": LOWERS_SCORE}
    theme.add_legend(figure, [_legend_entry(words, *look) for words, look in signs.items()])
    chosen = f"{model[0]}, seed {model[1]}; {overlay.describe_shown_images(shown, inputs, choice)}"
    theme.add_note(figure, chosen, STRENGTH_NOTE.format(strongest=strongest), AGREEMENT_NOTE)
    return figure


def strongest_superpixels(map_: NDArray[np.float32], count: int) -> list[tuple[float, NDArray[np.bool_]]]:
    """Return the `count` superpixels of the largest weights, strongest first, as (weight, mask (h, w)); none of weight 0."""
    weights = np.unique(map_)
    order = weights[np.argsort(-np.abs(weights), kind="stable")][:count]
    return [(float(weight), map_ == weight) for weight in order if weight]


def _stores_by_surrogate(inputs: FigureInputs, model: tuple[str, int]) -> dict[str, MapStore]:
    """Return method -> store of its maps, for the methods of a model that note their superpixels."""
    return {
        method: maps
        for (name, seed, _), maps in inputs.maps.items()
        for method in maps.methods
        if (name, seed) == model and "superpixels" in maps.notes(method)
    }


def _fill_superpixels(axes: Axes, maps: MapStore, method: str, image: str, count: int) -> str:
    """Fill the strongest superpixels, and return what is noted of the map."""
    place = int(np.flatnonzero((maps.rows["image_id"] == image) & maps.rows["role"].isin(["predicted", "both"]))[0])
    map_ = maps.maps(method, 0, slice(place, place + 1))[0]
    if not np.isfinite(map_).all():
        return "no map: it is not finite"
    view = axes.viewLim.frozen()
    for weight, where in strongest_superpixels(map_, count):
        _hatch_region(axes, where, *(RAISES_SCORE if weight > 0 else LOWERS_SCORE))
    axes.set(xlim=view.intervalx, ylim=view.intervaly)
    noted = {name: values[place] for name, values in maps.notes(method).items()}
    half = max((int(name.removeprefix("agreement_")) for name in noted if name.startswith("agreement_")), default=0)
    agreement = noted.get(f"agreement_{half}", np.nan)
    return f"{noted['superpixels']:.0f} superpixels" + ("" if pd.isna(agreement) else f", {agreement:.2f}")


def _hatch_region(axes: Axes, where: NDArray[np.bool_], colour: str, hatch: str) -> None:
    """Hatch and outline a region, padded by one empty pixel so that a region at the border closes there."""
    height, width = where.shape
    region = (np.arange(-1, width + 1), np.arange(-1, height + 1), np.pad(where, 1))
    axes.contourf(*region, levels=[0.5, 1.5], colors=[colour], alpha=0.35, zorder=2)
    axes.contourf(*region, levels=[0.5, 1.5], colors="none", hatches=[hatch], zorder=2).set(
        edgecolor=colour, linewidth=0
    )
    axes.contour(*region, levels=[0.5], colors=[colour], linewidths=0.9, zorder=2)


def _legend_entry(words: str, colour: str, hatch: str) -> Patch:
    entry = Patch(facecolor=to_rgba(colour, 0.35), edgecolor=colour, linewidth=0.9, hatch=hatch)
    entry.set_label(words)
    return entry
