"""Draw bird-like figures of five parts, each of three kinds, with any parts left out: a miniature of FunnyBirds.

    class   the kinds of its beak, eye, foot, tail and wing                                                    [hesse2023]
    scene   ground, light and OBJECTS plain objects behind the bird; it has nothing to do with the class
    image   scene, then tail, feet, body, wing, beak and eye; what is left out shows what lies behind it

Place, size, side, light and noise of a figure come from a stream that depends on neither class nor parts, so two images of
one number differ only in the pixels of the parts in which they differ. The six classes differ in at least three parts from
each other, and each has two others that share two parts each with it, all different: the contrast classes of FunnyBirds.
The number of a pixel's part is that of the part on top, where it covers at least half. Cost: 2 ms for 64 x 64 pixels.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradfaith import rng
from gradfaith.data.phantom.coverage import Plane, cover, distance_to_line, plane_coordinates

PARTS = ("beak", "eye", "foot", "tail", "wing")  # part number 1 is the first
CLASSES = ((0, 1, 0, 1, 2), (1, 2, 1, 0, 0), (2, 0, 2, 0, 1), (0, 2, 1, 2, 2), (1, 0, 0, 0, 2), (2, 1, 2, 1, 0))
OBJECTS = 3
Colour = tuple[float, float, float]
KINDS: dict[str, tuple[Colour, ...]] = {  # the colour of each kind; shapes differ as well
    "beak": ((0.98, 0.75, 0.10), (0.90, 0.15, 0.15), (0.15, 0.15, 0.20)),
    "eye": ((0.98, 0.98, 0.98), (0.05, 0.05, 0.05), (0.20, 0.90, 0.95)),
    "foot": ((0.95, 0.55, 0.10), (0.55, 0.15, 0.60), (0.20, 0.65, 0.25)),
    "tail": ((0.80, 0.15, 0.20), (0.15, 0.30, 0.85), (0.95, 0.90, 0.30)),
    "wing": ((0.20, 0.60, 0.30), (0.85, 0.35, 0.65), (0.15, 0.25, 0.60)),
}
BODY: Colour = (0.62, 0.52, 0.44)
Layer = tuple[int, Plane, Colour]  # part number (0: the body), coverage, colour


@dataclass(frozen=True)
class BirdImage:
    """One image, with the number of the part, or the object, of each pixel."""

    pixels: NDArray[np.uint8]  # (size, size, 3)
    parts: NDArray[np.uint8]  # (size, size): 0 none, from 1 a part of the bird
    objects: NDArray[np.uint8]  # (size, size): 0 none, from 1 an object behind the bird


@dataclass(frozen=True)
class BirdPlace:
    """Place, size and side of a figure; lengths are shares of half a body."""

    x: Plane
    y: Plane
    pixel: float

    def ellipse(self, at: tuple[float, float], half: tuple[float, float], tilt: float = 0.0) -> Plane:
        """Return the coverage by an ellipse; `tilt` in radians."""
        dx, dy, cos, sin = self.x - at[0], self.y - at[1], np.cos(tilt), np.sin(tilt)
        radius = np.hypot((cos * dx + sin * dy) / half[0], (cos * dy - sin * dx) / half[1])
        return cover(radius - 1, self.pixel / min(half))

    def lines(self, width: float, *lines: tuple[tuple[float, float], ...]) -> Plane:
        """Return the coverage by strokes through points."""
        strokes = (distance_to_line(self.x, self.y, np.array(points)) - width for points in lines)
        return np.asarray(np.max([cover(stroke, self.pixel) for stroke in strokes], axis=0))


def draw_bird(
    seed: int, number: int, size: int, kinds: tuple[int, ...], without: Collection[int] = (), without_object: int = 0
) -> BirdImage:
    """Draw bird `number` with parts of these kinds; `without`: part numbers left out; `without_object`: 0 for none."""
    stream = rng.generator(seed, "bird", number)
    x, y = plane_coordinates(size)
    centre, scale, side = stream.uniform(-0.10, 0.10, 2), stream.uniform(0.80, 0.95), stream.choice([-1.0, 1.0])
    frame = BirdPlace(side * (x - centre[0]) / scale, (y - centre[1]) / scale, 2 / size / scale)
    light, noise = stream.uniform(0.85, 1.1), stream.normal(0, 0.015, (size, size, 3))
    pixels, objects = _scene(stream, x, y, 2 / size, without_object)
    parts = np.zeros((size, size), dtype=np.uint8)
    for part, coverage, colour in _layers(frame, kinds):
        if part not in without:
            pixels = _paint(pixels, coverage, colour)
            parts[coverage >= 0.5] = part
            objects[coverage >= 0.5] = 0
    pixels = (light * pixels + noise).clip(0, 1)
    return BirdImage((255 * pixels).round().astype(np.uint8), parts, objects)


def _scene(
    stream: np.random.Generator, x: Plane, y: Plane, pixel: float, without: int
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Draw ground and objects; the object left out is drawn from the stream all the same."""
    sky, ground = stream.uniform(0.35, 0.75, (2, 3))
    height = (0.5 + 0.5 * y)[..., None]
    pixels, objects = (1 - height) * sky + height * ground, np.zeros(x.shape, dtype=np.uint8)
    for number in range(1, OBJECTS + 1):
        at, half, colour = stream.uniform(-0.85, 0.85, 2), stream.uniform(0.10, 0.22, 2), stream.uniform(0, 1, 3)
        away = (
            np.hypot((x - at[0]) / half[0], (y - at[1]) / half[1]) - 1
            if stream.random() < 0.5
            else np.maximum(abs(x - at[0]) / half[0], abs(y - at[1]) / half[1]) - 1
        )
        if number != without:
            coverage = cover(away, pixel / half.min())
            pixels = _paint(pixels, coverage, tuple(colour))
            objects[coverage >= 0.5] = number
    return pixels, objects


def _layers(frame: BirdPlace, kinds: tuple[int, ...]) -> list[Layer]:
    """Return parts and body from the back to the front; the bird looks to the right."""
    beak, eye, foot, tail, wing = kinds
    tails = (
        frame.lines(0.07, ((-0.40, 0.05), (-0.85, -0.25)), ((-0.40, 0.05), (-0.85, 0.0))),
        frame.ellipse((-0.68, -0.02), (0.30, 0.11), 0.35),
        frame.lines(
            0.05, ((-0.40, 0.05), (-0.80, -0.35)), ((-0.40, 0.05), (-0.88, -0.10)), ((-0.40, 0.05), (-0.82, 0.15))
        ),
    )
    toe = 0.04 + 0.015 * foot
    feet = frame.lines(toe, *(((at, 0.30), (at, 0.62), (at + (0.06, 0.14, 0.20)[foot], 0.66)) for at in (-0.14, 0.14)))
    body = np.maximum(frame.ellipse((0, 0.05), (0.48, 0.34)), frame.ellipse((0.38, -0.36), (0.25, 0.24)))
    wings = (
        frame.ellipse((-0.08, 0.02), (0.30, 0.14), 0.2),
        frame.ellipse((-0.05, 0.04), (0.20, 0.20)),
        frame.ellipse((-0.12, -0.04), (0.16, 0.28), -0.5),
    )
    beaks = (
        frame.lines(0.055, ((0.60, -0.34), (0.78, -0.30))),
        frame.lines(0.045, ((0.60, -0.36), (0.90, -0.34))),
        frame.lines(0.05, ((0.60, -0.38), (0.76, -0.36), (0.80, -0.22))),
    )
    sight = frame.ellipse((0.42, -0.42), ((0.09, 0.09), (0.07, 0.11), (0.11, 0.07))[eye])
    drawn = {"beak": beaks[beak], "eye": sight, "foot": feet, "tail": tails[tail], "wing": wings[wing]}
    chosen = dict(zip(PARTS, kinds, strict=True))
    layers = {part: (PARTS.index(part) + 1, drawn[part], KINDS[part][chosen[part]]) for part in PARTS}
    return [layers["tail"], layers["foot"], (0, body, BODY), layers["wing"], layers["beak"], layers["eye"]]


def _paint(pixels: NDArray[np.float64], coverage: Plane, colour: tuple[float, ...]) -> NDArray[np.float64]:
    share = coverage[..., None]
    return np.asarray((1 - share) * pixels + share * np.array(colour))
