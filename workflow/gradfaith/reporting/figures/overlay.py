"""Draw maps over their image: the parts that all figures of maps share, and the figures of `gradfaith explain`.

The evaluated map (metrics/maps/evaluate.py) is drawn over the image at half opacity, scaled to its own maximum: colours compare
places within a map, not strengths between maps. If one pixel in a hundred holds the upper half of this scale, as in maps of
single pixels, the scale ends at the 99th percentile, because nothing else would be seen. The evidence is an outline. A map that is constant or not
finite is replaced by a text, because it cannot be drawn.

`gradfaith explain` draws one image with the model's prediction: each map separately at a readable size, and all maps side by
side. The title of a map is the method's label; the layer and the explained score are below it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from numpy.typing import NDArray

from gradfaith.metrics.maps.evaluate import evaluate
from gradfaith.reporting import metric_rows
from gradfaith.reporting.escaping import one_line
from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import FigureInputs
from gradfaith.reporting.image_examples import SelectionRule
from gradfaith.storage.hdf5 import ImageStore, MapStore
from gradfaith.storage.map_info import MapInfo

MAP_ALPHA, MAP_COLOURS, EVIDENCE_COLOUR = 0.5, "inferno", "#3be8ff"
TEXT_HALO = [patheffects.withStroke(linewidth=1.6, foreground="black")]
HIGHEST, HIGHEST_RANK = 0.5, 0.99  # below this share of the maximum, the percentile of this rank ends the scale
SCALING_NOTE = (
    "Each map scaled to its own maximum, or to its 99th percentile if that is below half of it; laid over the image at "
    f"{100 * MAP_ALPHA:.0f}\u00a0% opacity."
)
NO_MAP_TEXT = {"degenerate": "no map:\nit is constant", "failed": "no map:\nit is not finite"}
MAX_COLUMNS, PANEL_INCHES, SINGLE_MAP_INCHES = 5, 1.3, 4.2  # panels side by side; inches
ImageArray = NDArray[Any]  # (h, w) or (h, w, 3)
EvidenceMask = NDArray[np.bool_]  # (h, w)


class DisplayMap(NamedTuple):
    """A map as it is drawn, (h, w) in [0, 1], and its status: ok, degenerate or failed."""

    unit: NDArray[np.float32]
    status: str


@dataclass(frozen=True)
class LabelledMap:
    """One map to draw, with its method's label and its description from the store."""

    label: str
    info: MapInfo
    display: DisplayMap


@dataclass(frozen=True)
class ExplainedImage:
    """One image, its evidence, and the model's prediction as text."""

    name: str
    pixels: ImageArray
    evidence: EvidenceMask
    answer: str  # the model's, with its probability
    true: str  # the true class; "": not known
    explained: str  # the class that the maps explain
    model: str


def load_image_and_evidence(images: ImageStore, image: str) -> tuple[ImageArray, EvidenceMask]:
    """Return the pixels of an image of the study, and its evidence."""
    return channels_last(images.pixels([image])[0]), images.mask("evidence", [image])[0][0]


def evidence_legend(evidence: EvidenceMask) -> str:
    """Return the sentence that explains the outline, or "" if no evidence is drawn."""
    return "Cyan line: evidence." if evidence.any() else ""


def channels_last(pixels: NDArray[np.uint8]) -> ImageArray:  # (c, h, w)
    """Return pixels as matplotlib draws them: (h, w) if there is one channel, else (h, w, c)."""
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)


def load_display_map(maps: MapStore, method: str, image: str, size: tuple[int, ...]) -> DisplayMap:
    """Read the map of an image's predicted class from a store, at `size` (h, w)."""
    row = int(np.flatnonzero((maps.rows["image_id"] == image) & maps.rows["role"].isin(["predicted", "both"]))[0])
    return to_display_map(maps.maps(method, 0, slice(row, row + 1))[0], maps.methods[method], size)


def to_display_map(raw: NDArray[np.float32], info: MapInfo, size: tuple[int, ...]) -> DisplayMap:  # (h0, w0)
    """Prepare a raw map for drawing at `size` (h, w)."""
    evaluated = evaluate(raw[None], grid=info.grid, signed=info.signed, size=(size[0], size[1]), reading=info.reading)
    status = "failed" if evaluated.broken[0] else "degenerate" if evaluated.degenerate[0] else "ok"
    return DisplayMap(evaluated.unit[0], status)


def draw_image(axes: Axes, pixels: ImageArray, evidence: EvidenceMask) -> None:
    """Draw the image, and the outline of its evidence."""
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    if evidence.any():
        lines = axes.contour(evidence, levels=[0.5], colors=EVIDENCE_COLOUR, linewidths=0.8, zorder=3)
        lines.set_path_effects([*TEXT_HALO, patheffects.Normal()])
    axes.set(xticks=(), yticks=())
    axes.spines[:].set_visible(False)


def draw_map(axes: Axes, unit: NDArray[np.float32], status: str, letters: float = 8) -> None:
    """Draw the map over the image, or write why there is none; `letters` is the font size of that sentence."""
    if status == "ok":
        high = float(np.quantile(unit, HIGHEST_RANK))
        top = high if 0 < high < HIGHEST else 1
        axes.imshow(unit, cmap=MAP_COLOURS, vmin=0, vmax=top, alpha=MAP_ALPHA, interpolation="nearest", zorder=2)
        return
    place: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
    axes.text(0.5, 0.5, NO_MAP_TEXT[status], color="white", path_effects=TEXT_HALO, zorder=5, fontsize=letters, **place)


def add_colour_bar(figure: theme.Page, panels: Any, label: str, **options: Any) -> None:
    """Add the one colour scale of all maps of a page."""
    look = {"fraction": 0.03, "shrink": 0.45, "aspect": 24, "pad": 0.015} | options
    bar = figure.colorbar(ScalarMappable(cmap=MAP_COLOURS), ax=panels, ticks=(0, 1), **look)
    bar.set_label(label)
    bar.outline.set_visible(False)


def wrap_name(name: str, letters: int) -> str:
    """Wrap a name into lines of at most `letters` letters, broken where its words end."""
    lines = [""]
    for word in re.findall(r"[^-_+ ]+[-_+ ]?|[-_+ ]", name):
        if lines[-1] and len(lines[-1] + word.rstrip(" ")) > letters:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.strip() for line in lines)


def font_size_to_fit(names: list[str], side: float, largest: float) -> float:
    """Return the font size, at most `largest`, at which no line of these names is wider than `side` inches."""
    longest = max(len(line) for name in names for line in name.split("\n"))
    return min(largest, 72 * side / (0.62 * longest))


def describe_stores(inputs: FigureInputs) -> str:
    """Return on what the maps of a figure are: "144 images of 72 patients, 2 seeds"."""
    images, manifest = (
        {image for maps in inputs.maps.values() for image in maps.rows["image_id"]},
        inputs.tables["manifest"],
    )
    groups = manifest.loc[manifest["image_id"].isin(images), "group"].nunique()
    seeds = len({seed for _, seed, _ in inputs.maps})
    noun = metric_rows.group_noun(manifest)
    return f"{len(images)} images of {groups} {noun}{'s'[: groups != 1]}, {seeds} seed{'s'[: seeds != 1]}"


def describe_shown_images(shown: Sequence[str], inputs: FigureInputs, choice: SelectionRule) -> str:
    """Return the note under a figure: how its images were chosen, and what the outline is if one is drawn."""
    assert inputs.images is not None
    metric = metric_rows.display_label(inputs.primary.metric, inputs.metrics)
    rule = {
        "median": f"nearest to their class's median {metric}",
        "random": "drawn at random",
    }
    legend = evidence_legend(inputs.images.mask("evidence", shown)[0])
    table, noun = inputs.tables["predictions"], metric_rows.group_noun(inputs.tables["manifest"])
    groups = table.loc[table["image_id"].isin(shown), "group"].nunique()
    counted = f"{len(shown)} images of {groups} {noun}{'s'[: groups != 1]}"
    return f"{counted}, {rule[choice]}, never chosen by eye. {legend}".rstrip()


def draw_single_map(image: ExplainedImage, shown: LabelledMap) -> theme.Page:
    """Draw one map over its image, on a page of its own."""
    figure = theme.new_page(SINGLE_MAP_INCHES + 0.75, SINGLE_MAP_INCHES + 0.7)
    axes = figure.subplots()
    draw_image(axes, image.pixels, image.evidence)
    draw_map(axes, *shown.display)
    axes.set_title(f"{shown.label}: why {image.explained}?", loc="center")
    axes.set_xlabel(_describe_source(shown.info, 60), fontsize=7)
    add_colour_bar(figure, axes, "share of the map's scale", fraction=0.05, shrink=0.6)
    theme.add_note(figure, *_page_notes(image, figure.get_size_inches()[0]))
    return figure


def draw_maps_side_by_side(image: ExplainedImage, maps: Sequence[LabelledMap]) -> theme.Page:
    """Draw the image and every map of it on one page."""
    columns = min(MAX_COLUMNS, len(maps) + 1)
    lines = ceil((len(maps) + 1) / columns)
    figure = theme.new_page(0.75 + lines * (PANEL_INCHES + 0.52), max(4.6, columns * (PANEL_INCHES + 0.06) + 0.4))
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    names = [wrap_name(one.label, 18) for one in maps]
    letters = font_size_to_fit(names, PANEL_INCHES, 8.5)
    draw_image(panels[0], image.pixels, image.evidence)
    _write_title_and_label(
        panels[0],
        "image",
        "\n".join(filter(None, (image.true and f"true: {image.true}", f"answer: {image.answer}"))),
        letters,
    )
    for axes, name, one in zip(panels[1:], names, maps, strict=False):
        draw_image(axes, image.pixels, image.evidence)
        draw_map(axes, *one.display)
        _write_title_and_label(axes, name, _describe_source(one.info, 26), letters)
    for axes in panels[len(maps) + 1 :]:
        axes.set_axis_off()
    theme.add_note(figure, *_page_notes(image, figure.get_size_inches()[0]))
    return figure


def _write_title_and_label(axes: Axes, above: str, below: str, letters: float) -> None:
    axes.set_title(above, loc="center", fontsize=letters)
    axes.set_xlabel(below, fontsize=5.8, labelpad=2, color=theme.GREY)


def _describe_source(info: MapInfo, letters: int) -> str:
    """Return the layer (of several the first and the last), the score unless it is the logit, and the reading."""
    absolute = "\nabsolute values" if info.reading == "absolute" else ""
    if not info.layer:
        if not info.score:
            return "does not use the model"
        return ("the image" if info.grid == "input" else "every block") + absolute
    layers = info.layer.split("+")
    words = layers[0] if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"
    score = "" if info.score == "logit" else f"\n{info.score.replace('_', '-')}"
    return wrap_name(words, letters) + score + absolute


def _page_notes(image: ExplainedImage, width: float) -> tuple[str, ...]:
    explained = f"Explained: {image.explained}. {evidence_legend(image.evidence)}".rstrip()
    answer = fill(
        f"{one_line(image.name)}: {image.model} answers {image.answer}.", int(15 * width)
    )  # a file's name can be long
    return answer, explained, SCALING_NOTE
