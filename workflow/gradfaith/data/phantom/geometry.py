"""Place pixels in the patient's own coordinates, and draw shapes on them with soft edges.

    coverage = clip(1/2 - d / pixel, 0, 1)              d: signed distance to an edge, negative inside

Lengths are in half fields of view: the image spans [-1, 1], x to its right, y down, about 19 cm each. The
patient is at a centre, rotated by a tilt. Shapes are drawn inside the smallest window that contains them, so
small ones cost little.

Closed outlines are given as a radius over the angle: a table, looked up per pixel.

    d = (distance - radius(angle)) / sqrt(1 + (radius' / radius)^2)

The division by the slope makes d the true distance to first order, so that an edge is one pixel wide however
steeply the outline runs. ANGLES entries are a sixteenth of a pixel apart on the rim of a nodule 20 pixels in
radius.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
PixelWindow = tuple[slice, slice]


@dataclass(frozen=True, eq=False)  # compared by identity, so that results for a frame can be cached
class Frame:
    """The position of each pixel in the patient's coordinates."""

    x: Field  # (h, w)
    y: Field  # (h, w)
    pixel: float
    centre: tuple[float, float]
    tilt: float

    def window(self, x: float, y: float, reach: float) -> PixelWindow:
        """Return the part of the image within `reach` of a point of the patient."""
        (column, row), margin = self.pixels(x, y), reach / self.pixel + 1
        top, bottom = math.floor(row - margin), math.ceil(row + margin) + 1
        left, right = math.floor(column - margin), math.ceil(column + margin) + 1
        return slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0))

    def pixels(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return column and row, in pixels, of a point of the patient or of arrays of points."""
        cos, sin, half = math.cos(self.tilt), math.sin(self.tilt), 0.5 * (2 / self.pixel - 1)
        across = (x * cos - y * sin + self.centre[0]) / self.pixel + half
        down = (x * sin + y * cos + self.centre[1]) / self.pixel + half
        return across, down

    def wave(self, u: float, v: float, phase: float) -> Field:  # (h, w)
        """Return sin(u x + v y + phase), from sines along two sides: the argument is linear in x and y."""
        along = u * (self.x[:1] - self.x[0, 0]) + v * (self.y[:1] - self.y[0, 0])  # (1, w)
        down = u * self.x[:, :1] + v * self.y[:, :1] + phase  # (h, 1)
        sine: Field = (np.sin(along) * np.cos(down) + np.cos(along) * np.sin(down)).astype(np.float32, copy=False)
        return sine


@lru_cache(maxsize=8)
def _axis(size: int) -> Field:  # (size,)
    return ((np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1).astype(np.float32)


@lru_cache(maxsize=8)
def patient_frame(size: int, centre: tuple[float, float] = (0.0, 0.0), tilt: float = 0.0) -> Frame:
    """Return the grid of a square image for a patient at `centre`, turned by `tilt` radians."""
    across, down = (_axis(size) - np.float32(centre[0]))[None, :], (_axis(size) - np.float32(centre[1]))[:, None]
    cos, sin = np.float32(math.cos(tilt)), np.float32(math.sin(tilt))
    x, y = across * cos + down * sin, down * cos - across * sin
    x.flags.writeable = y.flags.writeable = False  # shared by every slice drawn on it
    return Frame(x, y, 2 / size, centre, tilt)


def pixel_coverage(distance: Field, pixel: float) -> Field:
    """Return the share of each pixel inside an edge; `distance` is negative inside, `pixel` its size."""
    coverage: Field = np.clip(np.float32(0.5) - distance * np.float32(1 / pixel), 0, 1)
    return coverage


def blend(image: Field, coverage: Field, value: float | Field) -> None:
    """Lay a material over an image, in place."""
    image += coverage * (value - image)


@dataclass(frozen=True)
class Ellipse:
    """An ellipse in the patient: centre, half axes, turn in radians."""

    x: float
    y: float
    across: float
    down: float
    turn: float = 0.0

    def distance(self, x: Field, y: Field) -> Field:
        """Return the signed distance to the rim, to first order; exact on the rim and for circles."""
        cos, sin = np.float32(math.cos(self.turn)), np.float32(math.sin(self.turn))
        dx, dy = x - np.float32(self.x), y - np.float32(self.y)
        u, v = (dx * cos + dy * sin) / np.float32(self.across), (dy * cos - dx * sin) / np.float32(self.down)
        level: Field = np.sqrt(u * u + v * v) + np.float32(1e-6)
        u /= np.float32(self.across)
        v /= np.float32(self.down)
        distance: Field = level * (level - np.float32(1))
        distance /= np.sqrt(u * u + v * v) + np.float32(1e-6)
        return distance

    def window(self, on: Frame) -> PixelWindow:
        return on.window(self.x, self.y, max(self.across, self.down) + on.pixel)

    def paint(self, image: Field, on: Frame, value: float) -> None:
        """Fill the ellipse with a material, in place."""
        window = self.window(on)
        blend(image[window], pixel_coverage(self.distance(on.x[window], on.y[window]), on.pixel), value)


def smooth_step(low: float, high: float, value: float) -> float:
    """Return a smooth step from 0 at `low` to 1 at `high`."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


ANGLES = 2048
ANGLE: Field = ((np.arange(ANGLES) + 0.5) * (2 * np.pi / ANGLES) - np.pi).astype(np.float32)  # front -pi/2, back +pi/2
AngleBins = NDArray[np.int32]


def angle_bins(x: Field, y: Field) -> AngleBins:
    """Return the entry of each point's angle in a table of ANGLES entries."""
    scaled = (np.arctan2(y, x) + np.float32(np.pi)) * np.float32(ANGLES / (2 * np.pi))
    return np.minimum(scaled.astype(np.int32), ANGLES - 1)


def distance_to(radius: Field, distance: Field, entry: AngleBins) -> Field:
    """Return the signed distance to an outline, negative inside, of points at `distance` from its centre."""
    slope = (np.roll(radius, -1) - np.roll(radius, 1)) * np.float32(ANGLES / (4 * np.pi))
    straight = 1 / np.sqrt(1 + (slope / radius) ** 2)
    signed: Field = distance * straight.take(entry) - (radius * straight).take(entry)
    return signed
