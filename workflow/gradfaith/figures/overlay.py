"""An image under a map, for the eye: the parts that every picture of a map is drawn with.

The image in grey, over it the evaluated map (metrics/evaluated.py) at half opacity, scaled to its own maximum, so that
colours compare places within a map, never strength between maps; the evidence is an outline. A map that is constant or
not finite is said in words: no picture of it would be true.
"""

import re
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from numpy.typing import NDArray

from gradfaith.figures import theme
from gradfaith.mapinfo import MapInfo
from gradfaith.metrics.evaluated import evaluate
from gradfaith.stores import Images, Maps

ALPHA, MAP, OUTLINE = 0.5, "inferno", "#3be8ff"
HALO = [patheffects.withStroke(linewidth=1.6, foreground="black")]
SCALED = f"Each map scaled to its own maximum, laid over the image at {100 * ALPHA:.0f} % opacity."
SAID = {"degenerate": "no map:\nit is constant", "failed": "no map:\nit is not finite"}
Picture = NDArray[Any]  # (h, w) or (h, w, 3)
Region = NDArray[np.bool_]  # (h, w)
Seen = tuple[NDArray[np.float32], str]  # a map (h, w) in [0, 1], and its status


def picture(images: Images, image: str) -> tuple[Picture, Region]:
    """An image of the study, and its evidence."""
    return upright(images.pixels([image])[0]), images.mask("evidence", [image])[0][0]


def key(evidence: Region) -> str:
    """What the line is, where one is drawn, on one image or several."""
    return "Cyan line: evidence." if evidence.any() else ""


def upright(pixels: NDArray[np.uint8]) -> Picture:  # (c, h, w)
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)


def stored(maps: Maps, method: str, image: str, size: tuple[int, ...]) -> Seen:
    """The map of an image's predicted class, from a store."""
    row = int(np.flatnonzero((maps.rows["image_id"] == image) & maps.rows["role"].isin(["predicted", "both"]))[0])
    return seen(maps.maps(method, 0, slice(row, row + 1))[0], maps.methods[method], size)


def seen(raw: NDArray[np.float32], info: MapInfo, size: tuple[int, ...]) -> Seen:  # (h0, w0)
    """A raw map as the eye gets it."""
    found = evaluate(raw[None], grid=info.grid, signed=info.signed, size=(size[0], size[1]))
    status = "failed" if found.broken[0] else "degenerate" if found.degenerate[0] else "ok"
    return found.unit[0], status


def under(axes: Axes, pixels: Picture, evidence: Region) -> None:
    """The image, and the outline of its evidence."""
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    if evidence.any():
        lines = axes.contour(evidence, levels=[0.5], colors=OUTLINE, linewidths=0.8, zorder=3)
        lines.set_path_effects([*HALO, patheffects.Normal()])
    axes.set(xticks=(), yticks=())
    axes.spines[:].set_visible(False)


def over(axes: Axes, unit: NDArray[np.float32], status: str, letters: float = 8) -> None:
    """The map, or why there is none."""
    if status == "ok":
        axes.imshow(unit, cmap=MAP, vmin=0, vmax=1, alpha=ALPHA, interpolation="nearest", zorder=2)
        return
    place: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
    axes.text(0.5, 0.5, SAID[status], color="white", path_effects=HALO, zorder=5, fontsize=letters, **place)


def bar(figure: theme.Page, panels: Any, label: str, **options: Any) -> None:
    """The one scale of all maps of a page."""
    look = {"fraction": 0.03, "shrink": 0.45, "aspect": 24, "pad": 0.015} | options
    found = figure.colorbar(ScalarMappable(cmap=MAP), ax=panels, ticks=(0, 1), **look)
    found.set_label(label)
    found.outline.set_visible(False)


def broken(name: str, letters: int) -> str:
    """A name in lines of at most so many letters, broken where its words end."""
    lines = [""]
    for word in re.findall(r"[^-_+ ]+[-_+ ]?|[-_+ ]", name):
        if lines[-1] and len(lines[-1] + word.rstrip(" ")) > letters:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.strip() for line in lines)


def fitted(names: list[str], side: float, most: float) -> float:
    """The letter size at which the longest line of these names is no wider than `side` inches."""
    longest = max(len(line) for name in names for line in name.split("\n"))
    return min(most, 72 * side / (0.62 * longest))
