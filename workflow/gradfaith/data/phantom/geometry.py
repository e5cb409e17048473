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

Organs are not ellipses. `warp` bends a patient's coordinates by a few waves, once per patient, so every shape drawn on
them is irregular and stays smooth from slice to slice.

    texture(z) = cos(phase + rate z) A + sin(phase + rate z) B

A and B are fixed Gaussian fields with the power spectrum of a kind of tissue, cut out at a place that the patient draws.
The sum has the same spectrum at any z, and two slices are as alike as cos(rate dz).
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import scipy  # which imports `fft` at its first use: a job that only checks a study draws nothing
from numpy.typing import NDArray

from gradfaith import rng

Field = NDArray[np.float32]
Waves = tuple[tuple[float, float, float, float], ...]  # amplitude, two frequencies, phase
PixelWindow = tuple[slice, slice]


@dataclass(frozen=True, eq=False)  # compared by identity, so that results for a frame can be cached
class Frame:
    """The position of each pixel in the patient's coordinates."""

    x: Field  # (h, w)
    y: Field  # (h, w)
    pixel: float
    centre: tuple[float, float]
    tilt: float
    bend: float = 0.0  # largest shift of a warped point

    def window(self, x: float, y: float, reach: float, down: float | None = None) -> PixelWindow:
        """Return the part of the image within `reach` of a point of the patient (and `down` of its row, if given)."""
        column, row = self.pixels(x, y)
        wide = (reach + self.bend) / self.pixel + 1
        high = wide if down is None else (down + self.bend) / self.pixel + 1
        rows = slice(max(math.floor(row - high), 0), max(math.ceil(row + high) + 1, 0))
        return rows, slice(max(math.floor(column - wide), 0), max(math.ceil(column + wide) + 1, 0))

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


@lru_cache(maxsize=8)
def warp(on: Frame, waves: Waves, bend: float = 0.016) -> Frame:
    """Return the frame bent by a patient's irregularities."""
    pairs = [
        tuple(
            np.float32(bend / 2) * on.wave(1.6 * u + 4, 1.6 * v, phase + turn)
            for u, v, phase in ((u, v, p), (-v, u, 2 * p))
        )
        for (_, u, v, p), turn in zip(waves[:2], (0.0, 1.3), strict=True)
    ]
    x, y = on.x + pairs[0][0] + pairs[1][0], on.y + pairs[0][1] + pairs[1][1]
    x.flags.writeable = y.flags.writeable = False
    return Frame(x, y, on.pixel, on.centre, on.tilt, bend)


def pixel_coverage(distance: Field, pixel: float) -> Field:
    """Return the share of each pixel inside an edge; `distance` is negative inside, `pixel` the width of the edge."""
    coverage: Field = distance * np.float32(-1 / pixel)
    coverage += np.float32(0.5)
    np.maximum(coverage, np.float32(0), out=coverage)
    return np.minimum(coverage, np.float32(1), out=coverage)


def blend(image: Field, coverage: Field, value: float | Field) -> None:
    """Lay a material over an image, in place."""
    step = value - image
    step *= coverage
    image += step


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
        cos, sin, a, b = math.cos(self.turn), math.sin(self.turn), self.across, self.down
        u = x * np.float32(cos / a) + y * np.float32(sin / a)
        u -= np.float32((self.x * cos + self.y * sin) / a)
        v = y * np.float32(cos / b) - x * np.float32(sin / b)
        v -= np.float32((self.y * cos - self.x * sin) / b)
        u *= u
        v *= v
        square: Field = u + v
        u *= np.float32(1 / (a * a))
        v *= np.float32(1 / (b * b))
        u += v
        u += np.float32(1e-9)
        square -= np.sqrt(square)
        square /= np.sqrt(u, out=u)
        return square

    def window(self, on: Frame, margin: float = 0.0) -> PixelWindow:
        """Return the smallest upright window that contains the ellipse and a margin."""
        cos, sin = math.cos(self.turn + on.tilt), math.sin(self.turn + on.tilt)
        wide, high = math.hypot(self.across * cos, self.down * sin), math.hypot(self.across * sin, self.down * cos)
        return on.window(self.x, self.y, wide + on.pixel + margin, high + on.pixel + margin)

    def paint(self, image: Field, on: Frame, value: float | Field, soft: float = 0.0) -> None:
        """Fill the ellipse with a material, in place; its edge is one pixel wide, or `soft` if that is more."""
        window = self.window(on, soft)
        coverage = pixel_coverage(self.distance(on.x[window], on.y[window]), max(on.pixel, soft))
        blend(image[window], coverage, value if isinstance(value, float | int) else value[window])


def smooth_least(one: NDArray[Any], other: NDArray[Any]) -> Field:
    """Return (one^-16 + other^-16)^(-1/16), a smooth minimum of positive numbers; square roots are faster than powers."""
    powers = [1 / np.square(np.square(np.square(np.square(value)))) for value in (one, other)]
    least: Field = (1 / np.sqrt(np.sqrt(np.sqrt(np.sqrt(powers[0] + powers[1]))))).astype(np.float32)
    return least


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


Tissue = Literal["lung", "lobule", "fat"]
_SPECTRA: dict[
    Tissue, tuple[float, float, float, float]
] = {  # corner and cut (cycles per field of view), power, turn per z
    "lung": (5.0, 60.0, 1.5, 9.0),
    "lobule": (45.0, 75.0, 0.5, 30.0),
    "fat": (10.0, 70.0, 1.3, 10.0),
}
_MASTER = 512  # pixels; any smaller size keeps the low frequencies, as averaging over its pixels would


@lru_cache(maxsize=12)
def _tiles(tissue: Tissue, size: int) -> Field:  # (2, 2 size, 2 size)
    """Return the two fields of a tissue, each laid out twice per side so that any cut-out is a view."""
    corner, cut, power, _ = _SPECTRA[tissue]
    stream, half = rng.generator("phantom", "texture", tissue), size // 2
    white = stream.standard_normal((2, _MASTER, _MASTER // 2 + 1, 2), np.float32).view(np.complex64)[..., 0]
    rows = scipy.fft.fftfreq(_MASTER, 1 / _MASTER)[:, None]
    frequency = np.hypot(rows if tissue != "fat" else 1.6 * rows, np.arange(_MASTER // 2 + 1)[None, :])
    shape = (1 + (frequency / corner) ** 2) ** (-power / 2) * np.exp(-((frequency / cut) ** 2))
    shape[0, 0] = 0
    shape *= size**2 / math.sqrt(4 * float((shape**2).sum()))
    low = [*range(size - half), *range(-half, 0)]
    kept = (white * shape.astype(np.float32))[:, low, : half + 1]
    fields = scipy.fft.irfft2(kept, s=(size, size))
    tiles: Field = np.tile(fields, (1, 2, 2)).astype(np.float32)
    return tiles


def texture(tissue: Tissue, size: int, waves: Waves, z: float) -> Field:  # (size, size)
    """Return a tissue's texture in one section of the patient with these irregularities: mean 0, deviation 1."""
    tiles, (_, u, v, phase) = _tiles(tissue, size), waves[0]
    across, down = (int(size * (value * 7 % 1)) for value in (u, v))
    turn = phase + _SPECTRA[tissue][3] * z
    one, two = tiles[:, down : down + size, across : across + size]
    field: Field = one * np.float32(math.cos(turn)) + two * np.float32(math.sin(turn))
    return field
