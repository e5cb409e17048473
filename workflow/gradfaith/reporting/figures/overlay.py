"""An image under a map, for the eye: the parts that every picture of a map is drawn with.

The image in grey, over it the evaluated map (metrics/maps/evaluate.py) at half opacity, scaled to its own maximum, so that
colours compare places within a map, never strength between maps; the evidence is an outline. A map that is constant or
not finite is said in words: no picture of it would be true.

One image and what one model says of it: every map by itself at a readable size, and all of them side by side.

`gradfaith explain` draws these. The name above a map is the method's label, below it stand the layer it was read from and
the score it explains; the image carries the model's answer.

Which images stand for a class: chosen by a rule, never by eye.

    median   the images whose score on the study's primary metric, averaged over the architectures shown, is nearest to
             the median of their class; where the metric has no value for the class (no evidence), nearest to the median
             calibrated probability of the true class
    random   drawn per class from a fixed stream

At most one image per group while there are other groups. Ties go by image id. Cost: none.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from textwrap import fill
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from numpy.typing import NDArray

from gradfaith.metrics.maps.evaluate import evaluate
from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import theme
from gradfaith.rng import generator
from gradfaith.storage.hdf5 import Images, Maps
from gradfaith.storage.map_info import MapInfo

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


COLUMNS, SIDE, LARGE = 5, 1.3, 4.2  # panels side by side; inches


@dataclass(frozen=True)
class Drawn:
    """One map, made for the eye."""

    label: str
    info: MapInfo
    seen: Seen


@dataclass(frozen=True)
class Scene:
    """The image, and what is said of it in words."""

    name: str
    pixels: Picture
    evidence: Region
    answer: str  # the model's, with its probability
    true: str  # "": nobody knows
    explained: str  # the class
    model: str


def alone(scene: Scene, drawn: Drawn) -> theme.Page:
    """One map over its image."""
    figure = theme.page(LARGE + 0.75, LARGE + 0.7)
    axes = figure.subplots()
    under(axes, scene.pixels, scene.evidence)
    over(axes, *drawn.seen)
    axes.set_title(f"{drawn.label}: why {scene.explained}?", loc="center")
    axes.set_xlabel(_read_from(drawn.info, 60), fontsize=7)
    bar(figure, axes, "share of the map's maximum", fraction=0.05, shrink=0.6)
    theme.note(figure, *_about(scene, figure.get_size_inches()[0]))
    return figure


def beside(scene: Scene, drawn: Sequence[Drawn]) -> theme.Page:
    """The image and every map of it."""
    columns = min(COLUMNS, len(drawn) + 1)
    lines = ceil((len(drawn) + 1) / columns)
    figure = theme.page(0.75 + lines * (SIDE + 0.52), max(4.6, columns * (SIDE + 0.06) + 0.4))
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    names = [broken(one.label, 18) for one in drawn]
    letters = fitted(names, SIDE, 8.5)
    under(panels[0], scene.pixels, scene.evidence)
    _named(
        panels[0],
        "image",
        "\n".join(filter(None, (scene.true and f"true: {scene.true}", f"answer: {scene.answer}"))),
        letters,
    )
    for axes, name, one in zip(panels[1:], names, drawn, strict=False):
        under(axes, scene.pixels, scene.evidence)
        over(axes, *one.seen)
        _named(axes, name, _read_from(one.info, 26), letters)
    for axes in panels[len(drawn) + 1 :]:
        axes.set_axis_off()
    theme.note(figure, *_about(scene, figure.get_size_inches()[0]))
    return figure


def _named(axes: Axes, above: str, below: str, letters: float) -> None:
    axes.set_title(above, loc="center", fontsize=letters)
    axes.set_xlabel(below, fontsize=5.8, labelpad=2, color=theme.GREY)


def _read_from(info: MapInfo, letters: int) -> str:
    """The layer, or the first and the last of several, and what is explained where it is not the logit."""
    if not info.layer:
        if not info.score:
            return "knows nothing of the model"
        return "the image" if info.grid == "input" else "every block"
    layers = info.layer.split("+")
    words = layers[0] if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"
    return broken(words, letters) + ("" if info.score == "logit" else f"\n{info.score.replace('_', '-')}")


def _about(scene: Scene, width: float) -> tuple[str, ...]:
    explained = f"Explained: {scene.explained}. {key(scene.evidence)}".rstrip()
    said = fill(f"{scene.name}: {scene.model} answers {scene.answer}.", int(15 * width))  # a file's name can be long
    return said, explained, SCALED


Choice = Literal["median", "random"]


def choose(
    predictions: pd.DataFrame,  # of the models shown, one row per model and image
    scores: pd.DataFrame,
    primary: Mapping[str, str],
    classes: Sequence[str],
    *,
    images: int,
    choice: Choice = "median",
) -> list[str]:
    """Image ids, class by class; at least one per class, and what does not divide goes to the last classes."""
    known = predictions.drop_duplicates("image_id").set_index("image_id")
    number = typicality(predictions, scores, primary, classes)
    wanted = dict.fromkeys(classes, images // len(classes))
    for name in list(classes)[len(classes) - images % len(classes) :]:
        wanted[name] += 1
    chosen: list[str] = []
    for name in classes:
        own = known[known["label"] == name]
        if choice == "random":
            order = generator("panels", name).permutation(sorted(own.index)).tolist()
        else:
            values = number.reindex(own.index).dropna()
            away = (values - values.median()).abs()
            order = away.to_frame("away").assign(image=away.index).sort_values(["away", "image"]).index.tolist()
        chosen += _apart(order, own["group"], max(1, wanted[name]))
    return chosen


def account(shown: Sequence[str], images: Images, primary: Mapping[str, str], choice: Choice) -> str:
    """How the images shown were chosen, and what the line upon them is, where one is drawn."""
    rule = {
        "median": f"nearest to their class's median {metric_rows.words(primary['metric'])}",
        "random": "drawn at random",
    }
    line = key(images.mask("evidence", shown)[0])
    return f"images {rule[choice]}, never chosen by eye. {line}".rstrip()


def typicality(
    predictions: pd.DataFrame, scores: pd.DataFrame, primary: Mapping[str, str], classes: Sequence[str]
) -> pd.Series:
    """The number an image is chosen by: its primary score, or its true class's probability where the class has none."""
    own = metric_rows.within(scores)
    own = metric_rows.of_metric(
        own[(own["method"] == primary["method"]) & own["seed"].isin(predictions["seed"])], primary["metric"]
    )
    score = own[own["status"] == "ok"].groupby("image_id")["value"].mean()
    label = predictions.drop_duplicates("image_id").set_index("image_id")["label"]
    parts = []
    for name in classes:
        images = label.index[label == name]
        with_score = score[score.index.isin(images)]
        true = predictions[predictions["label"] == name].groupby("image_id")[f"calibrated_{name}"].mean()
        parts.append(with_score if len(with_score) else true)
    numbers: pd.Series = pd.concat(parts)
    return numbers


def _apart(order: Sequence[str], group: pd.Series, wanted: int) -> list[str]:
    """The first images in order from different groups, then the rest."""
    first = list({group[image]: image for image in reversed(order)}.values())
    rank = {image: place for place, image in enumerate(order)}
    rest = [image for image in order if image not in first]
    return (sorted(first, key=rank.__getitem__) + rest)[:wanted]
