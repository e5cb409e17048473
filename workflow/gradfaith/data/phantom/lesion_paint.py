"""Paint a lesion into a section: its body, its strands and what is inside, all with soft edges.

    q(p)     = |p| in units of the lesion's half axes                         1 on the surface of an ellipsoid
    level(p) = q - 1 - sum over scales of amplitude * noise(p / scale)        0 on the outline; lobes are |noise|
    body     = soft step of -level / |gradient|, over one pixel and the slice's thickness
    strand   = share of the pixel that lies within w(t) of an axis from the surface outwards, fading with t
    opacity  = max(body, strands), inside the lungs;       evidence = opacity >= 1/4

The noise is a sum of plane waves in three dimensions, so outlines change smoothly between slices. A sum of waves on a grid is
one matrix product: sin(a + b) = sin a cos b + cos a sin b, with a along columns and b along rows.

Strands (spicules) taper to a point and bend a little. Some reach the pleura, and there a tag widens like a tent. A strand
thinner than a pixel is a faint line, as in a scan. Its end, where it fills less than an eighth of a pixel, is left out, so
that an image with the lesion differs from one without it only in the evidence and at most two pixels around it. Ground glass
leaves vessels visible. Cost: 0.3 to 1 ms per lesion and section of 224 pixels.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy  # as in scanner.py
from numpy.typing import NDArray

from gradfaith import rng
from gradfaith.data.phantom.geometry import Field, Frame, blend
from gradfaith.data.phantom.lesions import MM, Lesion

EVIDENCE = 0.25  # least opacity of a pixel of evidence
HALO = 2  # pixels around the evidence that the lesion may change
_SLAB = 2.0 * MM  # thickness of a slice
_BLUR, _FADE = 1.3 * MM, 3.5 * MM  # least width of an edge: the scanner's resolution; ground glass fades into the lung
_ROUGH = {"smooth": (0.05, 0.02, 0.01), "lobulated": (0.10, 0.03, 0.015), "spiculated": (0.13, 0.09, 0.06)}
_SCALES = (1.7, 0.8, 0.35)  # wavelengths of the outline's noise, in radii
_LOBES = 0.30  # amplitude of |noise|: round lobes with notches between them
_WAVES = 10  # of each scale


@dataclass(frozen=True, eq=False)
class WaveNoise:
    """A random field of zero mean: a sum of plane waves."""

    across: Field  # (n,)
    down: Field  # (n,)
    along: Field  # (n,)
    phase: Field  # (n,)
    amplitude: Field  # (n,)

    @staticmethod
    def draw(stream: np.random.Generator, wavelengths: tuple[float, ...], deviations: tuple[float, ...]) -> "WaveNoise":
        """Draw waves of some wavelengths in all directions; each wavelength has its own standard deviation."""
        count = _WAVES * len(wavelengths)
        heading = stream.standard_normal((count, 3))
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
        number = 2 * math.pi / (np.repeat(wavelengths, _WAVES) * stream.uniform(0.75, 1.33, count))
        u, v, w = (heading * number[:, None]).T.astype(np.float32)
        strength = (np.repeat(deviations, _WAVES) * math.sqrt(2 / _WAVES)).astype(np.float32)
        return WaveNoise(u, v, w, stream.uniform(0, 2 * math.pi, count).astype(np.float32), strength)

    def at(self, dx: Field, dy: Field, z: float) -> Field:  # (h, w) each, linear in row and column
        """Return the field on a grid."""
        columns = np.outer(self.across, dx[0]) + np.outer(self.down, dy[0])
        columns += (self.phase + self.along * np.float32(z))[:, None]
        rows = np.outer(self.across, dx[:, 0] - dx[0, 0]) + np.outer(self.down, dy[:, 0] - dy[0, 0])
        left = np.concatenate([np.cos(rows) * self.amplitude[:, None], np.sin(rows) * self.amplitude[:, None]])
        field: Field = left.T @ np.concatenate([np.sin(columns), np.cos(columns)])
        return field


@dataclass(frozen=True, eq=False)
class Strands:
    """Tapering strands from a centre outwards; lengths in half fields of view."""

    heading: Field  # (n, 3)
    start: Field  # (n,) distance of the root from the centre
    length: Field  # (n,) from the root to the tip
    width: Field  # (n,) half, at the root
    flare: Field  # (n,) half, at the tip, where it meets the pleura

    def reach(self) -> float:
        """Return the distance of the furthest tip."""
        return float((self.start + self.length).max()) if len(self.start) else 0.0

    def opacity(self, dx: Field, dy: Field, dz: float, pixel: float) -> Field:  # (h, w)
        """Return how much of each pixel the strands fill."""
        if not len(self.start):
            return np.zeros_like(dx)
        u, v, w = (self.heading[:, i, None, None] for i in range(3))
        t = u * dx + v * dy + w * np.float32(dz)
        high = max(abs(dz) - _SLAB / 2, 0.0)  # the slice's thickness meets strands above and below
        aside = np.sqrt(np.maximum(dx * dx + dy * dy + np.float32(high * high) - t * t, 0))
        share = np.clip((t - self.start[:, None, None]) / self.length[:, None, None], 0, 1)
        half = self.width[:, None, None] * np.where(
            self.flare[:, None, None] > 0, np.float32(0.8), (1 - share) ** np.float32(0.6)
        )
        half += self.flare[:, None, None] * np.maximum(share - np.float32(0.6), 0) ** 2 * np.float32(6)
        inside = np.minimum(half, aside + np.float32(pixel / 2)) - np.maximum(-half, aside - np.float32(pixel / 2))
        filled = np.clip(inside * np.float32(1 / pixel), 0, 1)
        filled *= (t > 0) & (t < (self.start + self.length)[:, None, None])
        found: Field = filled.max(axis=0)
        return found * _step(found * np.float32(1 / 0.3))


@dataclass(frozen=True, eq=False)
class Growth:
    """The random parts of a lesion: noise of its outline, strands, texture and inner parts; strands; specks of calcium."""

    outline: WaveNoise
    lobes: WaveNoise
    bend: WaveNoise
    texture: WaveNoise
    parts: WaveNoise
    strands: Strands
    dots: Field  # (n, 4): centre in radii, and radius in radii


@lru_cache(maxsize=256)
def grow(item: Lesion) -> Growth:
    """Draw the random parts of a lesion, from its own stream."""
    stream, radius = rng.generator(*item.key, "growth"), item.radius
    scales = tuple(scale * radius for scale in _SCALES)
    many = int(stream.integers(1, 4))
    dots = np.concatenate([stream.uniform(-0.5, 0.5, (many, 3)), stream.uniform(0.1, 0.22, (many, 1))], axis=1)
    return Growth(
        outline=WaveNoise.draw(stream, scales, _ROUGH[item.about.outline]),
        lobes=WaveNoise.draw(stream, (2.2 * radius,), (1.0,)),
        bend=WaveNoise.draw(stream, (4.5 * radius,), (1.0,)),
        texture=WaveNoise.draw(stream, (9 * MM, 5 * MM, 3 * MM, 2 * MM), (0.6, 0.5, 0.5, 0.4)),
        parts=WaveNoise.draw(stream, (0.9 * radius, 0.5 * radius), (0.7, 0.7)),
        strands=_grow_strands(item, stream),
        dots=dots.astype(np.float32),
    )


def _grow_strands(item: Lesion, stream: np.random.Generator) -> Strands:
    """Draw spicules all round, most of them near the section's plane, and the tag to the pleura."""
    many = int(stream.integers(14, 28)) if item.about.outline == "spiculated" else 0
    tagged = item.about.contact == "pleural-tag"
    angle = (np.arange(many) + stream.uniform(-0.45, 0.45, many)) * (2 * math.pi / max(many, 1))
    tilt = stream.normal(0, 0.25, many)
    heading = np.stack([np.cos(angle) * np.cos(tilt), np.sin(angle) * np.cos(tilt), np.sin(tilt)], 1)
    length = np.minimum(stream.gamma(1.6, 0.5, many) * item.radius + stream.uniform(1, 4, many) * MM, 22 * MM)
    width, flare = stream.uniform(0.5, 1.7, many) * MM, np.zeros(many)
    start = np.full(many, 0.8 * item.radius)
    if tagged:
        ux, uy, far = item.to_pleura
        heading = np.concatenate([heading, [(ux, uy, 0.0)]])
        start, length = np.append(start, 0.8 * item.radius), np.append(length, far - 0.8 * item.radius + 2 * MM)
        width, flare = np.append(width, stream.uniform(0.5, 1.0) * MM), np.append(flare, stream.uniform(1, 2.5) * MM)
    return Strands(*(part.astype(np.float32) for part in (heading, start, length, width, flare)))


def paint_lesion(image: Field, item: Lesion, z: float, lungs: Field, on: Frame) -> NDArray[np.bool_]:  # (h, w)
    """Draw a lesion into a section, in place, and return its evidence."""
    evidence, dz = np.zeros(image.shape, np.bool_), z - item.z
    growth = grow(item)
    window = on.window(item.x, item.y, max(1.7 * item.radius, growth.strands.reach()) + 2 * on.pixel)
    if abs(dz) > 1.5 * item.height or 0 in image[window].shape:
        return evidence
    dx, dy = on.x[window] - np.float32(item.x), on.y[window] - np.float32(item.y)
    level, depth = _levels(item, growth, dx, dy, dz)
    opacity = _soft(level, item, dz, on.pixel)
    bend = growth.bend.at(dx, dy, dz) * np.float32(0.15 * item.radius)
    opacity = np.maximum(opacity, growth.strands.opacity(dx + bend, dy - bend, dz, on.pixel))
    opacity *= np.minimum(4 * lungs[window], 1)  # no seam of air where a lesion meets the pleura
    filled = (opacity >= EVIDENCE) & (lungs[window] >= 0.5)
    opacity *= scipy.ndimage.maximum_filter(filled, 2 * HALO + 1)
    blend(image[window], opacity, _material(image[window], item, growth, depth, (dx, dy, dz), on.pixel))
    evidence[window] = filled
    return evidence


def _levels(item: Lesion, growth: Growth, dx: Field, dy: Field, dz: float) -> tuple[Field, Field]:
    """Return the level (negative inside), and the distance from the centre in radii."""
    cos, sin, long = math.cos(item.turn), math.sin(item.turn), math.sqrt(item.stretch)
    a = (dx * np.float32(cos) + dy * np.float32(sin)) * np.float32(1 / (item.radius * long))
    b = (dy * np.float32(cos) - dx * np.float32(sin)) * np.float32(long / item.radius)
    centre: Field = np.sqrt(a * a + b * b + np.float32((dz / item.height) ** 2))
    level = centre - np.float32(1) - growth.outline.at(dx, dy, dz)
    if item.about.outline == "lobulated":
        level -= np.float32(_LOBES) * (np.minimum(np.abs(growth.lobes.at(dx, dy, dz)), 1.5) - np.float32(0.75))
    return level, centre


def _ramp(share: Field) -> Field:
    clipped: Field = np.clip(share, 0, 1)
    return clipped


def _step(share: Field) -> Field:
    """Return a smooth step from 0 at 0 to 1 at 1."""
    t = _ramp(share)
    step: Field = t * t * (3 - 2 * t)
    return step


def _soft(level: Field, item: Lesion, dz: float, pixel: float) -> Field:
    """Return the share of each voxel inside the outline; a slanted surface is softer, for the slice's thickness."""
    down, across = np.gradient(level, np.float32(pixel))
    steep = np.maximum(np.sqrt(down * down + across * across), np.float32(0.4 / item.radius))
    slant = np.float32(_SLAB * abs(dz) / item.height**2) / steep
    blur = _BLUR if item.about.density == "solid" else _FADE
    width = np.sqrt(np.float32(max(1.6 * pixel, blur) ** 2) + slant * slant)
    return _step(np.float32(0.5) - level / (steep * width))


def _material(
    image: Field, item: Lesion, growth: Growth, centre: Field, at: tuple[Field, Field, float], pixel: float
) -> Field:
    """Return the attenuation inside the lesion: tissue with texture, then calcium or air."""
    texture, density = growth.texture.at(*at), item.about.density
    solid = np.float32(item.solid) + np.float32(12) * texture
    edge = np.float32(max(1.2 * pixel / item.radius, 0.05))
    if density == "solid":
        material: Field = solid
    else:
        material = np.maximum(np.float32(item.haze) + np.float32(55) * texture, image)
        if density == "part-solid":
            inner = centre + np.float32(0.15) * growth.parts.at(*at)
            blend(material, _step(np.float32(0.5) - (inner - np.float32(item.core)) / edge), solid)
    if item.cavity:
        inner = centre + np.float32(0.12) * growth.parts.at(*at)
        blend(material, _step(np.float32(0.5) - (inner - np.float32(item.cavity)) / edge), -950.0)
    if item.about.calcification != "none":
        blend(material, _calcium(item, growth, centre, at, edge), 520.0 + 60 * texture)
    return material


def _calcium(item: Lesion, growth: Growth, centre: Field, at: tuple[Field, Field, float], edge: np.float32) -> Field:
    """Return how much of each pixel is calcified."""

    def within(radius: float) -> Field:
        return _step(np.float32(0.5) - (centre - np.float32(radius)) / edge)

    pattern = item.about.calcification
    if pattern == "central":
        return within(0.5)
    if pattern == "laminated":
        shells: Field = np.maximum(within(0.3), within(0.85) - within(0.62))
        return shells
    if pattern in ("diffuse", "popcorn"):
        clouds = growth.parts.at(*at)
        if pattern == "diffuse":
            share, most = np.float32(0.75) + np.float32(0.2) * clouds, within(0.88)
        else:
            share, most = (clouds + np.float32(0.15)) / (np.float32(0.4) + edge), within(0.85)
        most *= _ramp(share)
        return most
    dx, dy, dz = at
    found: Field = np.zeros_like(centre)
    for x, y, z, radius in growth.dots * np.float32(item.radius):
        far = np.sqrt((dx - x) ** 2 + (dy - y) ** 2 + np.float32((dz - z) ** 2)) - radius
        found = np.maximum(found, _step(np.float32(0.5) - far / (edge * np.float32(item.radius))))
    return found


def halo(evidence: NDArray[np.bool_]) -> NDArray[np.bool_]:  # (h, w)
    """Return the evidence and the pixels around it that a lesion may change."""
    grown: NDArray[np.bool_] = scipy.ndimage.maximum_filter(evidence, 2 * HALO + 1)
    return grown
