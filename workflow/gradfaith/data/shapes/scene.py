"""Compose one image: shapes of one class on a view of a background, and the evidence from the very same pixels.

    image = view of the background;  image[m] = paint        evidence = union of the m        m: pixels inside a shape

One boolean array m, in the image's own pixels, decides both what is painted and what is evidence. Nothing is resized, turned
or cut afterwards, so image and evidence cannot disagree: without the shape, an image differs exactly on its evidence (tested).

Every shape has one colour at least `contrast` away from the mean of the background behind it. `texture` paints bands in
two such colours. `occlusion` lays a bar of another colour across a shape and beyond it; covered pixels are no evidence.
Several shapes are of one class and one size range, at places that do not overlap if one of PLACEMENTS draws allows it,
else at those that overlap least.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradfaith import rng
from gradfaith.data.shapes import clutter
from gradfaith.data.shapes.clutter import Colours
from gradfaith.data.shapes.outlines import REACH, Form, Outline, PixelWindow

PLACEMENTS = 200
COLOUR_DRAWS = 64
BANDS = 3  # pairs of bands across a textured shape
BAR_LENGTH = 1.3  # half the length of a bar, in reaches of its shape


@dataclass(frozen=True)
class SceneSpec:
    """What one image shows; sizes are shares of the image's side."""

    seed: int
    background: int
    number: int  # of the image among those of its background
    form: Form
    hollow: bool
    sizes: tuple[float, float]
    shapes: int
    turn: float  # largest, in degrees
    side: int  # pixels
    clutter: float  # share of the background's objects
    noise: tuple[float, float]
    contrast: float  # root mean square over the channels, in grey values
    texture: bool
    occlusion: float  # share of each shape's width that the bar covers


def draw_scene(spec: SceneSpec) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:  # (h, w, 3), (h, w)
    """Return the image and its evidence."""
    image, evidence = draw_view(spec), np.zeros((spec.side, spec.side), bool)
    for outline, stream in draw_outlines(spec):
        window = outline.window(spec.side)
        inside = outline.inside(window)
        behind = image[window]
        behind[inside] = _paint(spec, outline, window, behind[inside].mean(axis=0), stream)[inside]
        evidence[window] |= inside
        if spec.occlusion:
            colour, wide = behind[inside].mean(axis=0), outline.window(spec.side, BAR_LENGTH)
            bar = _bar(spec, outline, wide, stream)
            image[wide][bar] = _far_colour(colour, spec.contrast, stream)
            evidence[wide] &= ~bar
    return image.clip(0, 255).astype(np.uint8), evidence


def draw_view(spec: SceneSpec) -> Colours:
    """Return what the image shows without its shapes."""
    stream = rng.generator(spec.seed, "view", spec.background, spec.number)
    background = clutter.draw_background(spec.seed, spec.background, spec.side, spec.clutter)
    return clutter.view(background, spec.side, stream.uniform(*spec.noise), stream)


def draw_outlines(spec: SceneSpec) -> list[tuple[Outline, np.random.Generator]]:
    """Return the shapes at their places, each with the generator of its paint."""
    stream = rng.generator(spec.seed, "places", spec.background, spec.number)
    size = spec.side * stream.uniform(*spec.sizes, spec.shapes)
    reach = size * REACH[spec.form]
    places = reach + stream.random((PLACEMENTS if spec.shapes > 1 else 1, 2, spec.shapes)) * (spec.side - 1 - 2 * reach)
    x, y = places[_clearest(places, reach)]
    angles = np.deg2rad(stream.uniform(-spec.turn, spec.turn, spec.shapes))
    return [
        (
            Outline(spec.form, spec.hollow, float(size[i]), float(angles[i]), float(x[i]), float(y[i])),
            rng.generator(spec.seed, "paint", spec.background, spec.number, i),
        )
        for i in range(spec.shapes)
    ]


def _clearest(places: NDArray[np.float64], reach: NDArray[np.float64]) -> int:  # (draws, 2, shapes), (shapes)
    """Return the first draw in which no two shapes can overlap, else the one with the largest smallest gap."""
    first, second = np.triu_indices(len(reach), 1)
    if not len(first):
        return 0
    apart = np.hypot(*(places[:, :, first] - places[:, :, second]).swapaxes(0, 1))  # (draws, pairs)
    gaps = (apart - reach[first] - reach[second]).min(axis=1)
    return int(np.argmax(gaps >= 0)) if (gaps >= 0).any() else int(np.argmax(gaps))


def _paint(
    spec: SceneSpec, outline: Outline, window: PixelWindow, ground: Colours, stream: np.random.Generator
) -> Colours:  # (rows, columns, 3)
    """Return the colours of a shape on a ground, for every pixel of its window."""
    colour = _far_colour(ground, spec.contrast, stream)
    if not spec.texture:
        rows, columns = window
        return np.broadcast_to(colour, (rows.stop - rows.start, columns.stop - columns.start, 3))
    second = _far_colour(ground, spec.contrast, stream)
    along, _ = outline.turned(window, stream.uniform(0, math.pi))
    return np.where(np.sin(along * (2 * math.pi * BANDS / outline.size))[..., None] > 0, colour, second)


def _far_colour(ground: Colours, contrast: float, stream: np.random.Generator) -> Colours:  # (3,)
    """Return the first random colour at least `contrast` from the ground, else the farthest of those drawn."""
    colours = stream.uniform(0, 255, (COLOUR_DRAWS, 3)).astype(np.float32)
    distance = np.sqrt(((colours - ground) ** 2).mean(axis=1))
    far = distance >= contrast
    return np.asarray(colours[int(np.argmax(far)) if far.any() else int(np.argmax(distance))])


def _bar(spec: SceneSpec, outline: Outline, window: PixelWindow, stream: np.random.Generator) -> NDArray[np.bool_]:
    """Return which pixels of a window lie under a bar across the shape; it ends beyond the shape on both sides."""
    along, across = outline.turned(window, stream.uniform(0, math.pi))
    half = spec.occlusion * outline.size / 2
    middle = stream.uniform(-1, 1) * (outline.size / 2 - half)
    return np.asarray((np.abs(across - middle) < half) & (np.abs(along) < BAR_LENGTH * outline.reach))
