"""The strongest superpixels of the surrogates: what LIME and KernelSHAP say speaks for the class, and what against it.

One row per image, chosen by a rule (reporting/image_examples.py): the image, then for each surrogate of one model the same image with its
strongest superpixels filled: green and crossed what raises the score, red and barred what lowers it. Strength is the size of
a superpixel's weight; all shown are filled alike, since weights of different images and methods have no common scale. Beside
each method stands how far two seeds of half the samples agree: below about 0.8 the choice of superpixels is partly chance.
"""

from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch
from numpy.typing import NDArray

from gradfaith.reporting.figures import overlay, panels, theme
from gradfaith.reporting.figures.contract import Figure, Given
from gradfaith.reporting.figures.overlay import choose
from gradfaith.storage.hdf5 import Maps

FIGURE = Figure(
    needs=("predictions", "scores", "images", "maps"),
    limits=("images >= 1", "strongest >= 1", "0 <= seed_rank < seeds"),
)
FOR, AGAINST = ("#009E73", "+++"), ("#DD3C14", "---")
NONE = "No method of this study fits a surrogate on superpixels."


def draw(
    given: Given,
    *,
    arch: str = "",
    seed_rank: int = 0,
    images: int = 3,
    strongest: int = 8,
    choice: Literal["median", "random"] = "median",
) -> theme.Page:
    assert given.images is not None
    model = (arch or given.architectures[0], sorted(given.seeds)[seed_rank])
    found = _surrogates(given, model)
    if not found:
        figure = theme.page(0.6)
        theme.note(figure, NONE)
        return figure
    table = panels.explained(given.tables["predictions"], model[1], {model[0]: next(iter(found.values()))})
    shown = choose(table, given.tables["scores"], given.primary, given.classes, images=images, choice=choice)
    side = min(1.9, theme.WIDTH / (len(found) + 1) - 0.06)
    figure = theme.page(0.8 + len(shown) * (side + 0.25), (len(found) + 1) * (side + 0.06) + 0.6)
    axes = figure.subplots(len(shown), len(found) + 1, squeeze=False)
    answers = table.set_index("image_id").to_dict("index")
    for line, image in zip(axes, shown, strict=True):
        pixels, evidence = overlay.picture(given.images, image)
        for place in line:
            overlay.under(place, pixels, evidence)
        panels.answer(line[0], answers[image])
        for place, (method, maps) in zip(line[1:], found.items(), strict=True):
            place.set_xlabel(_fill(place, maps, method, image, strongest), labelpad=3)
    for place, name in zip(axes[0], ("image", *found), strict=True):
        place.set_title(name, loc="center")
    theme.legend(figure, [_entry("raises the score", *FOR), _entry("lowers it", *AGAINST)])
    theme.note(
        figure,
        f"{model[0]}, seed {model[1]}: at most {strongest} superpixels, the largest weights of either sign.",
        "Below each: superpixels in all, and the rank correlation of two seeds of half the samples.",
    )
    return figure


def strongest_of(map_: NDArray[np.float32], count: int) -> list[tuple[float, NDArray[np.bool_]]]:
    """The superpixels of the largest weights, strongest first; those that weigh nothing are not among them."""
    weights = np.unique(map_)
    order = weights[np.argsort(-np.abs(weights), kind="stable")][:count]
    return [(float(weight), map_ == weight) for weight in order if weight]


def _surrogates(given: Given, model: tuple[str, int]) -> dict[str, Maps]:
    """The methods of a model that note their superpixels, and the stores their maps are in."""
    return {
        method: maps
        for (name, seed, _), maps in given.maps.items()
        for method in maps.methods
        if (name, seed) == model and "superpixels" in maps.notes(method)
    }


def _fill(axes: Axes, maps: Maps, method: str, image: str, count: int) -> str:
    """Fills the superpixels, and says what is noted of the map."""
    place = int(np.flatnonzero((maps.rows["image_id"] == image) & maps.rows["role"].isin(["predicted", "both"]))[0])
    map_ = maps.maps(method, 0, slice(place, place + 1))[0]
    if not np.isfinite(map_).all():
        return "no map: it is not finite"
    view = axes.viewLim.frozen()
    for weight, where in strongest_of(map_, count):
        _mark(axes, where, *(FOR if weight > 0 else AGAINST))
    axes.set(xlim=view.intervalx, ylim=view.intervaly)
    noted = {name: values[place] for name, values in maps.notes(method).items()}
    half = max((int(name.removeprefix("agreement_")) for name in noted if name.startswith("agreement_")), default=0)
    agreement = noted.get(f"agreement_{half}", np.nan)
    return f"{noted['superpixels']:.0f} superpixels" + ("" if pd.isna(agreement) else f", {agreement:.2f}")


def _mark(axes: Axes, where: NDArray[np.bool_], colour: str, hatch: str) -> None:
    """Framed by one pixel of nothing, so that a region at the border closes there."""
    height, width = where.shape
    region = (np.arange(-1, width + 1), np.arange(-1, height + 1), np.pad(where, 1))
    axes.contourf(*region, levels=[0.5, 1.5], colors=[colour], alpha=0.35, zorder=2)
    axes.contourf(*region, levels=[0.5, 1.5], colors="none", hatches=[hatch], zorder=2).set(
        edgecolor=colour, linewidth=0
    )
    axes.contour(*region, levels=[0.5], colors=[colour], linewidths=0.9, zorder=2)


def _entry(words: str, colour: str, hatch: str) -> Patch:
    entry = Patch(facecolor=to_rgba(colour, 0.35), edgecolor=colour, linewidth=0.9, hatch=hatch)
    entry.set_label(words)
    return entry
