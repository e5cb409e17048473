"""Images, maps and evidence side by side: Figures 2 and 3 of the paper, with the images chosen by a rule (typical.py).

One row per image: the CT, then per architecture (one seed) the CT in grey under the evaluated map of the predicted class,
the outline of the evidence, and the model's answer with its calibrated probability. Every map is scaled to its own
maximum, so colours compare places within a map, never strength between maps. A constant map is said, not shown.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from numpy.typing import NDArray

from gradfaith.figures import rows, theme
from gradfaith.figures.contract import Figure, Given
from gradfaith.figures.typical import choose
from gradfaith.metrics.evaluated import evaluate
from gradfaith.stores import Images, Maps

FIGURE = Figure(needs=("predictions", "scores", "images", "maps"))
ALPHA, MAP, OUTLINE = 0.5, "inferno", "#3be8ff"
HALO = [patheffects.withStroke(linewidth=1.6, foreground="black")]
Picture = NDArray[Any]  # (h, w) or (h, w, 3)


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
    seed, archs = sorted(given.seeds)[seed_rank], list(given.architectures)
    stores = {arch: _store(given, arch, seed, method) for arch in archs}
    table = explained(given.tables["predictions"], seed, stores)
    shown = choose(table, given.tables["scores"], given.primary, given.classes, images=images, choice=choice)
    side = min(1.4, (theme.WIDTH - 0.9) / (len(archs) + 1) - 0.06)
    figure = theme.page(0.85 + len(shown) * (side + 0.21), (len(archs) + 1) * (side + 0.06) + 0.9)
    panels = figure.subplots(len(shown), len(archs) + 1, squeeze=False)
    answers = {(row["arch"], row["image_id"]): row for row in table.to_dict("records")}
    for line, image in zip(panels, shown, strict=True):
        pixels, evidence = picture(given.images, image)
        base(line[0], pixels, evidence)
        line[0].set_xlabel(f"true: {answers[archs[0], image]['label']}", labelpad=3)
        for axes, arch in zip(line[1:], archs, strict=True):
            base(axes, pixels, evidence)
            _overlay(axes, *_map(stores[arch], method, image, pixels.shape[:2]))
            answer(axes, answers[arch, image])
    letters = min(8.5, 72 * side / (0.62 * max(map(len, archs))))  # the longest name fits over its column
    for axes, name in zip(panels[0], ("image", *archs), strict=True):
        axes.set_title(name, loc="center", fontsize=letters)
    _bar(figure, panels, method)
    metric = rows.words(given.primary["metric"])
    rule = {"median": f"nearest to their class's median {metric}", "random": "drawn at random"}[choice]
    theme.note(
        figure,
        f"Seed {seed}; images {rule}, never chosen by eye. Cyan line: evidence.",
        f"Each map scaled to its own maximum, laid over the image at {100 * ALPHA:.0f} % opacity.",
    )
    return figure


def _store(given: Given, arch: str, seed: int, method: str) -> Maps:
    return next(
        maps
        for (name, number, _), maps in given.maps.items()
        if (name, number) == (arch, seed) and method in maps.methods
    )


def explained(predictions: pd.DataFrame, seed: int, stores: dict[str, Maps]) -> pd.DataFrame:
    """The predictions of one seed, on the images that every architecture has a map of."""
    shared = set.intersection(*(set(maps.rows["image_id"]) for maps in stores.values()))
    return predictions[
        (predictions["seed"] == seed) & predictions["image_id"].isin(shared) & predictions["arch"].isin(stores)
    ]


def picture(images: Images, image: str) -> tuple[Picture, NDArray[np.bool_]]:
    pixels = images.pixels([image])[0]  # (c, h, w)
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0), images.mask("evidence", [image])[0][0]


def _map(maps: Maps, method: str, image: str, size: Sequence[int]) -> tuple[NDArray[np.float32], str]:  # (h, w), status
    row = int(np.flatnonzero((maps.rows["image_id"] == image) & maps.rows["role"].isin(["predicted", "both"]))[0])
    info, one = maps.methods[method], slice(row, row + 1)
    found = evaluate(maps.maps(method, 0, one), grid=info.grid, signed=info.signed, size=(size[0], size[1]))
    status = "failed" if found.broken[0] else "degenerate" if found.degenerate[0] else "ok"
    return found.unit[0], status


def base(axes: Axes, pixels: Picture, evidence: NDArray[np.bool_]) -> None:
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    if evidence.any():
        lines = axes.contour(evidence, levels=[0.5], colors=OUTLINE, linewidths=0.8, zorder=3)
        lines.set_path_effects([*HALO, patheffects.Normal()])
    axes.set(xticks=(), yticks=())
    axes.spines[:].set_visible(False)


def _overlay(axes: Axes, unit: NDArray[np.float32], status: str) -> None:
    if status == "ok":
        axes.imshow(unit, cmap=MAP, vmin=0, vmax=1, alpha=ALPHA, interpolation="nearest", zorder=2)
        return
    said = {"degenerate": "no map:\nit is constant", "failed": "no map:\nit is not finite"}[status]
    axes.text(
        0.5, 0.5, said, transform=axes.transAxes, ha="center", va="center", color="white", path_effects=HALO, zorder=5
    )


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


def _bar(figure: theme.Page, panels: Any, method: str) -> None:
    scale = ScalarMappable(cmap=MAP)
    bar = figure.colorbar(scale, ax=panels, fraction=0.03, shrink=0.45, aspect=24, pad=0.015, ticks=(0, 1))
    bar.set_label(f"{method}, share of the map's maximum")
    bar.outline.set_visible(False)
