"""One image and what one model says of it: every map by itself at a readable size, and all of them side by side.

`gradfaith explain` draws these. The name above a map is the method's label, below it stand the layer it was read from and
the score it explains; the image carries the model's answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from textwrap import fill

from matplotlib.axes import Axes

from gradfaith.figures import overlay, theme
from gradfaith.figures.overlay import Picture, Region, Seen
from gradfaith.mapinfo import MapInfo

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
    overlay.under(axes, scene.pixels, scene.evidence)
    overlay.over(axes, *drawn.seen)
    axes.set_title(f"{drawn.label}: why {scene.explained}?", loc="center")
    axes.set_xlabel(_read_from(drawn.info, 60), fontsize=7)
    overlay.bar(figure, axes, "share of the map's maximum", fraction=0.05, shrink=0.6)
    theme.note(figure, *_about(scene, figure.get_size_inches()[0]))
    return figure


def beside(scene: Scene, drawn: Sequence[Drawn]) -> theme.Page:
    """The image and every map of it."""
    columns = min(COLUMNS, len(drawn) + 1)
    lines = ceil((len(drawn) + 1) / columns)
    figure = theme.page(0.75 + lines * (SIDE + 0.52), max(4.6, columns * (SIDE + 0.06) + 0.4))
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    names = [overlay.broken(one.label, 18) for one in drawn]
    letters = overlay.fitted(names, SIDE, 8.5)
    overlay.under(panels[0], scene.pixels, scene.evidence)
    _named(
        panels[0],
        "image",
        "\n".join(filter(None, (scene.true and f"true: {scene.true}", f"answer: {scene.answer}"))),
        letters,
    )
    for axes, name, one in zip(panels[1:], names, drawn, strict=False):
        overlay.under(axes, scene.pixels, scene.evidence)
        overlay.over(axes, *one.seen)
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
    return overlay.broken(words, letters) + ("" if info.score == "logit" else f"\n{info.score.replace('_', '-')}")


def _about(scene: Scene, width: float) -> tuple[str, ...]:
    explained = f"Explained: {scene.explained}. {overlay.key(scene.evidence)}".rstrip()
    said = fill(f"{scene.name}: {scene.model} answers {scene.answer}.", int(15 * width))  # a file's name can be long
    return said, explained, overlay.SCALED
