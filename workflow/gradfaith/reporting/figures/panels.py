"""Images, maps and evidence side by side: Figures 2 and 3 of the paper, with the images chosen by a rule (reporting/image_examples.py).

One row per image: the CT, then per architecture (one seed) the CT in grey under the evaluated map of the predicted class,
the outline of the evidence, and the model's answer with its calibrated probability. Every map is scaled to its own
maximum, so colours compare places within a map, never strength between maps. A constant map is said, not shown.
"""

from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes

from gradfaith.reporting.figures import overlay, theme
from gradfaith.reporting.figures.contract import Figure, Given
from gradfaith.reporting.figures.overlay import account, choose
from gradfaith.storage.hdf5 import Maps

FIGURE = Figure(needs=("predictions", "scores", "images", "maps"), limits=("images >= 1", "0 <= seed_rank < seeds"))


def draw(
    given: Given,
    *,
    images: int = 5,
    seed_rank: int = 0,
    method: str = "",
    choice: Literal["median", "random"] = "median",
) -> theme.Page:
    assert given.images is not None
    method = method or given.primary["method"]
    seed = sorted(given.seeds)[seed_rank]
    stores = _stores(given, seed, method)
    archs = list(stores)  # those that the method is asked of
    table = explained(given.tables["predictions"], seed, stores)
    shown = choose(table, given.tables["scores"], given.primary, given.classes, images=images, choice=choice)
    side = min(1.4, (theme.WIDTH - 0.9) / (len(archs) + 1) - 0.06)
    figure = theme.page(0.85 + len(shown) * (side + 0.21), (len(archs) + 1) * (side + 0.06) + 0.9)
    panels = figure.subplots(len(shown), len(archs) + 1, squeeze=False)
    answers = {(row["arch"], row["image_id"]): row for row in table.to_dict("records")}
    for line, image in zip(panels, shown, strict=True):
        pixels, evidence = overlay.picture(given.images, image)
        overlay.under(line[0], pixels, evidence)
        line[0].set_xlabel(f"true: {answers[archs[0], image]['label']}", labelpad=3)
        for axes, arch in zip(line[1:], archs, strict=True):
            overlay.under(axes, pixels, evidence)
            overlay.over(axes, *overlay.stored(stores[arch], method, image, pixels.shape[:2]))
            answer(axes, answers[arch, image])
    letters = overlay.fitted(archs, side, 8.5)
    for axes, name in zip(panels[0], ("image", *archs), strict=True):
        axes.set_title(name, loc="center", fontsize=letters)
    overlay.bar(figure, panels, f"{method}, share of the map's maximum")
    theme.note(figure, f"Seed {seed}; {account(shown, given.images, given.primary, choice)}", overlay.SCALED)
    return figure


def _stores(given: Given, seed: int, method: str) -> dict[str, Maps]:
    """arch -> its store that holds the method, in the study's order."""
    found = {arch: maps for (arch, number, _), maps in given.maps.items() if number == seed and method in maps.methods}
    return {arch: found[arch] for arch in given.architectures if arch in found}


def explained(predictions: pd.DataFrame, seed: int, stores: dict[str, Maps]) -> pd.DataFrame:
    """The predictions of one seed, on the images that every architecture has a map of."""
    shared = set.intersection(*(set(maps.rows["image_id"]) for maps in stores.values()))
    return predictions[
        (predictions["seed"] == seed) & predictions["image_id"].isin(shared) & predictions["arch"].isin(stores)
    ]


def answer(axes: Axes, row: Mapping[Any, Any]) -> None:
    answer, right = row["predicted"], bool(row["correct"])
    axes.set_xlabel(
        f"{answer} {row[f'calibrated_{answer}']:.2f}", labelpad=3, color=theme.INK if right else theme.WRONG
    )
    if not right:
        tag = {"boxstyle": "square,pad=0.25", "facecolor": theme.WRONG, "edgecolor": "none"}
        place: dict[str, Any] = {"transform": axes.transAxes, "ha": "left", "va": "top"}
        axes.text(0.03, 0.97, "wrong", color="white", fontsize=7, bbox=tag, zorder=6, **place)
        axes.spines[:].set(visible=True, color=theme.WRONG, linewidth=1.6)
