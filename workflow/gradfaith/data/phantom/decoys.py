"""Draw decoys: normal structures and old changes that resemble parts of a lesion, at equal rates in all classes.

    perpendicular vessels   1 to 4 per patient        round and bright, like a small solid lesion
    vessel crossing         half of the patients      a bright star, like spicules
    fissures                every patient             a thin line through each lung; thickened in three of ten
    scars                   four of ten               linear bands near the pleura, like a strand without a lesion
    dots                    four of ten               granulomas and lymph nodes below 4 mm, a third of them calcified
    dependent density       four of ten               haze at the back of the lung, like ground glass

The stream depends on the study's seed and the patient's number, not on the class. Decoys are never evidence. All have soft
edges and continue through neighbouring slices. Lengths are in half fields of view. Cost: 1 ms per section of 224 pixels.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gradfaith import rng
from gradfaith.data.phantom import chest
from gradfaith.data.phantom.geometry import Field, Frame, blend, patient_frame, pixel_coverage
from gradfaith.data.phantom.lesion_paint import WaveNoise
from gradfaith.data.phantom.lesions import MM

_PLACING = 64  # pixels of the coarse section on which decoys are placed


@dataclass(frozen=True)
class Dot:
    """A ball, or a cylinder that leans: its centre moves with z."""

    x: float
    y: float
    z: float
    radius: float
    height: float  # half the extent along z; infinite for a vessel
    lean: tuple[float, float]  # shift of x and y per z
    value: float

    def paint(self, image: Field, z: float, lungs: Field, on: Frame) -> None:
        """Draw the disc that a section cuts out, in place."""
        dz = z - self.z
        share = 1 - (dz / self.height) ** 2
        if share <= 0:
            return
        x, y, radius = self.x + self.lean[0] * dz, self.y + self.lean[1] * dz, self.radius * math.sqrt(share)
        window = on.window(x, y, radius + on.pixel)
        far = np.hypot(on.x[window] - np.float32(x), on.y[window] - np.float32(y)) - np.float32(radius)
        strength = np.float32(min(1.0, 2 * radius / on.pixel))
        blend(image[window], pixel_coverage(far, 1.4 * on.pixel) * strength * lungs[window], self.value)


def _strip(half: Field, across: Field, pixel: float) -> Field:
    """Return the share of each pixel that a line of some half width fills, at a distance `across` from its middle."""
    edge = np.float32(pixel / 2)
    inside = np.minimum(half, across + edge) - np.maximum(-half, across - edge)
    filled: Field = np.clip(inside * np.float32(1 / pixel), 0, 1)
    return filled


@dataclass(frozen=True)
class Band:
    """A bent line that tapers at both ends, through all slices."""

    x: float
    y: float
    angle: float
    length: float  # half
    width: float  # half
    bend: float
    drift: float  # shift across per z
    value: float

    def paint(self, image: Field, z: float, lungs: Field, on: Frame) -> None:
        """Draw the band, in place."""
        window = on.window(self.x, self.y, self.length + on.pixel)
        dx, dy = on.x[window] - np.float32(self.x), on.y[window] - np.float32(self.y)
        cos, sin = np.float32(math.cos(self.angle)), np.float32(math.sin(self.angle))
        along = (dx * cos + dy * sin) * np.float32(1 / self.length)
        across = dy * cos - dx * sin - np.float32(self.bend * self.length) * along * along - np.float32(self.drift * z)
        half = np.float32(self.width) * np.sqrt(np.maximum(1 - along * along, 0))
        filled = _strip(half, across, on.pixel)
        blend(image[window], filled * lungs[window], self.value)


@dataclass(frozen=True)
class Fissure:
    """The interlobar fissure of one lung: y = front + slope |x| + curve x^2 + a small wave, moving forward with z.

    It fades in and out along x, because the slice meets it at a changing angle.
    """

    hand: int
    front: float
    slope: float
    curve: float
    rise: float
    width: float  # half
    thick: float  # additional half width where it is thickened
    where: float  # |x| of the thickening
    phase: float  # of the wave and of its fading
    value: float

    def paint(self, image: Field, z: float, lungs: Field, on: Frame) -> None:
        """Draw the line, in place."""
        window = on.window(self.hand * 0.37, self.front + 0.37 * self.slope - self.rise * z, 0.34)
        x, y = self.hand * on.x[window], on.y[window]
        wave = np.sin(np.float32(11) * x + np.float32(self.phase + 8 * z))
        line = np.float32(self.front - self.rise * z) + np.float32(self.slope) * x + np.float32(self.curve) * x * x
        line += np.float32(0.012) * wave
        across = (y - line) * np.float32(1 / math.hypot(1, self.slope))
        half = np.float32(self.width) + np.float32(self.thick) * np.exp(
            -(((x - np.float32(self.where)) / np.float32(8 * MM)) ** 2)
        )
        filled = _strip(half, across, on.pixel) * (x > 0.05)
        filled *= np.float32(0.6) + np.float32(0.4) * np.sin(np.float32(7) * x + np.float32(2 * self.phase))
        blend(image[window], filled * lungs[window], self.value)


@dataclass(frozen=True)
class Decoys:
    """All decoys of a patient."""

    dots: tuple[Dot, ...]
    bands: tuple[Band, ...]
    fissures: tuple[Fissure, ...]
    dependent: float  # Hounsfield units at the back of the lung; 0: none
    height: float  # of the dependent density
    clouds: WaveNoise


@lru_cache(maxsize=256)
def draw_decoys(seed: int, patient: int) -> Decoys:
    """Draw a patient's decoys, from their own stream."""
    stream = rng.generator(seed, "phantom", patient, "decoys")
    places = _free_places(seed, patient, stream)
    blood = chest.draw_anatomy(seed, patient).blood - 20
    dots = [_perpendicular(places.pop(), blood, stream) for _ in range(int(stream.integers(1, 5)))]
    bands: list[Band] = []
    if stream.random() < 0.5:
        bands += _crossing(places.pop(), blood, stream)
    if stream.random() < 0.4:
        dots += [_small_dot(places.pop(), stream) for _ in range(int(stream.integers(1, 4)))]
    if stream.random() < 0.4:
        bands += [_scar(places.pop(), stream) for _ in range(int(stream.integers(1, 3)))]
    fissures = tuple(_fissure(hand, stream) for hand in (-1, 1))
    dependent = float(stream.uniform(70, 220)) if stream.random() < 0.4 else 0.0
    clouds = WaveNoise.draw(stream, (30 * MM, 12 * MM), (0.3, 0.2))
    return Decoys(tuple(dots), tuple(bands), fissures, dependent, float(stream.uniform(12, 30)) * MM, clouds)


def _free_places(seed: int, patient: int, stream: np.random.Generator) -> list[tuple[float, float]]:
    """Return points inside the lungs at the patient's own level, in random order."""
    on = patient_frame(_PLACING)
    anatomy, waves = chest.draw_anatomy(seed, patient), chest.draw_waves(seed, patient)
    rows, columns = np.nonzero(chest.chest_section(anatomy, waves, 0.0, on).depth < -6 * MM)
    chosen = stream.permutation(len(rows))[:12]
    shift = stream.uniform(-0.5, 0.5, (12, 2)) * on.pixel
    return [
        (float(on.x[at] + dx), float(on.y[at] + dy))
        for at, (dx, dy) in zip(zip(rows[chosen], columns[chosen], strict=True), shift, strict=False)
    ]


def _perpendicular(place: tuple[float, float], blood: float, stream: np.random.Generator) -> Dot:
    across, down = stream.uniform(-0.5, 0.5, 2)
    radius = float(stream.uniform(1.2, 3.2)) * MM
    return Dot(*place, 0.0, radius, math.inf, (float(across), float(down)), blood)


def _small_dot(place: tuple[float, float], stream: np.random.Generator) -> Dot:
    calcified = stream.random() < 1 / 3
    value = float(stream.uniform(250, 600) if calcified else stream.uniform(-150, 40))
    radius = float(stream.uniform(1.0, 1.95)) * MM
    return Dot(*place, float(stream.uniform(-3, 3)) * MM, radius, float(stream.uniform(3, 6)) * MM, (0.0, 0.0), value)


def _crossing(place: tuple[float, float], blood: float, stream: np.random.Generator) -> list[Band]:
    """Return two bent vessels that cross beside their middles."""
    first = float(stream.uniform(0, math.pi))
    second = first + float(stream.uniform(0.5, 1.3))
    drawn = stream.uniform([7, 0.5, -0.6, -1.0, -3, -3], [15, 1.3, 0.6, 1.0, 3, 3], (2, 6))
    return [
        Band(
            place[0] + float(dx) * MM, place[1] + float(dy) * MM, angle, float(length) * MM, float(width) * MM,
            float(bend), float(drift), blood - 60,
        )
        for angle, (length, width, bend, drift, dx, dy) in zip((first, second), drawn, strict=True)
    ]  # fmt: skip


def _scar(place: tuple[float, float], stream: np.random.Generator) -> Band:
    length, width, bend, drift = stream.uniform([6, 0.5, -0.3, -0.6], [18, 1.4, 0.3, 0.6])
    angle, value = float(stream.uniform(0, math.pi)), float(stream.uniform(-250, 20))
    return Band(*place, angle, float(length) * MM, float(width) * MM, float(bend), float(drift), value)


def _fissure(hand: int, stream: np.random.Generator) -> Fissure:
    drawn = stream.uniform([-0.05, -0.45, -0.5, 0.5, 0.2, 0.15], [0.22, 0.10, 0.5, 1.0, 0.5, 0.55])
    front, slope, curve, rise, width, where = map(float, drawn)
    thick = float(stream.uniform(0.6, 1.6)) * MM if stream.random() < 0.3 else 0.0
    phase = float(stream.uniform(0, 2 * math.pi))
    return Fissure(hand, front, slope, curve, rise, width * MM, thick, where, phase, float(stream.uniform(-400, -100)))


def paint_decoys(image: Field, decoys: Decoys, z: float, at: chest.Section, on: Frame) -> None:
    """Draw all decoys into a section, in place; only inside the lungs."""
    if decoys.dependent:
        _paint_dependent(image, decoys, z, at, on)
    items: tuple[Fissure | Band | Dot, ...] = (*decoys.fissures, *decoys.bands, *decoys.dots)
    for item in items:
        item.paint(image, z, at.lungs, on)


def _paint_dependent(image: Field, decoys: Decoys, z: float, at: chest.Section, on: Frame) -> None:
    """Add haze that is densest at the back wall of the chest and ends in an uneven front."""
    window = on.window(0.0, 0.36, 0.68)
    rows = slice(max(window[0].start, on.x.shape[0] // 2 - round(0.1 / on.pixel)), window[0].stop)
    part = rows, window[1]
    deep = -at.outside[part] * np.float32(1 / decoys.height)
    deep += decoys.clouds.at(on.x[part], on.y[part], z)
    back = np.clip(on.y[part] * np.float32(4), 0, 1)
    image[part] += np.float32(decoys.dependent) * np.clip(1 - deep, 0, 1) * back * at.lungs[part]
