"""Give the six classes their outlines: which pixels lie inside a disc, a square or a triangle, filled or hollow.

    disc      d = |p| - s / 2                                  p: from the middle, turned by the angle; s: the size
    square    d = max(|x|, |y|) - s / 2
    triangle  d = max over its three sides of n . p  -  s / 3                   equilateral, s is its height
    filled    d <= 0
    hollow    -2/5 r < d <= 0                                  r: radius of the inscribed circle

d is the signed distance to the nearest side's line, in pixels. A pixel belongs to the shape if its middle lies inside, so
evidence is exact: no edge is soft. The frame of a disc and a square is s / 5 thick, as in the paper's dataset; that of a
triangle is thinner, else its hole would close at small sizes [domeniconi2026].
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Form = Literal["circle", "square", "triangle"]
PixelWindow = tuple[slice, slice]  # rows, columns
Coordinate = NDArray[np.float64]  # (rows, columns)
INSCRIBED = {"circle": 1 / 2, "square": 1 / 2, "triangle": 1 / 3}  # radius of the inscribed circle, in sizes
REACH = {"circle": 1 / 2, "square": math.sqrt(1 / 2), "triangle": 2 / 3}  # farthest point from the middle, in sizes
FRAME = 2 / 5  # thickness of a hollow shape, in radii of the inscribed circle
SIDES = tuple(math.pi / 2 + turn * 2 * math.pi / 3 for turn in range(3))  # directions of the triangle's normals


@dataclass(frozen=True)
class Outline:
    """One shape at its place: the middle and the size in pixels, the angle in radians."""

    form: Form
    hollow: bool
    size: float
    angle: float
    x: float
    y: float

    @property
    def reach(self) -> float:
        """Return the largest distance of a point of the shape from its middle, in pixels."""
        return self.size * REACH[self.form]

    def window(self, side: int, wider: float = 1.0) -> PixelWindow:
        """Return the rows and columns of an image that contain the shape, or as many times more as `wider` says."""
        first = [max(math.floor(middle - wider * self.reach), 0) for middle in (self.y, self.x)]
        last = [min(math.ceil(middle + wider * self.reach) + 1, side) for middle in (self.y, self.x)]
        return slice(first[0], last[0]), slice(first[1], last[1])

    def turned(self, window: PixelWindow, angle: float) -> tuple[Coordinate, Coordinate]:
        """Return how far each pixel of a window is from the shape's middle, along an angle and across it."""
        rows, columns = window
        down = np.arange(rows.start, rows.stop)[:, None] - self.y
        right = np.arange(columns.start, columns.stop)[None, :] - self.x
        cosine, sine = math.cos(angle), math.sin(angle)
        return right * cosine + down * sine, down * cosine - right * sine

    def inside(self, window: PixelWindow) -> NDArray[np.bool_]:  # (rows, columns)
        """Return which pixels of a window belong to the shape."""
        distance = self._distance(*self.turned(window, self.angle))
        radius = self.size * INSCRIBED[self.form]
        filled: NDArray[np.bool_] = distance <= 0
        return filled & (distance > -FRAME * radius) if self.hollow else filled

    def _distance(self, x: Coordinate, y: Coordinate) -> Coordinate:
        radius = self.size * INSCRIBED[self.form]
        if self.form == "circle":
            return np.asarray(np.hypot(x, y) - radius)
        if self.form == "square":
            return np.asarray(np.maximum(np.abs(x), np.abs(y)) - radius)
        sides = [x * math.cos(turn) + y * math.sin(turn) for turn in SIDES]
        return np.asarray(np.maximum.reduce(sides) - radius)
