"""Draw the chest wall: skin, fat with strands, muscles with fascia, ribs, sternum, shoulder blades and spine.

Skin and the inner layer of the wall follow outlines of `chest`. Muscles are ellipses along the wall, at the levels where
they belong; fat remains between them. Muscle and fat have a texture (strands of fat in muscle, septa in fat).

A rib is a ring that descends from the spine to the front, so an axial section cuts several, each obliquely:

    half thickness(angle) = T sqrt(1 - ((z_rib(angle) - z) / H)^2),     z_rib = phase + k gap + descent(angle)

The section of a rib moves along the wall from slice to slice. Bones have a bright cortex and a darker marrow. In front, a rib
continues as cartilage. Cost: 2 ms for a section of 224 pixels.
"""

import math
from functools import lru_cache

import numpy as np

from gradfaith.data.phantom import chest
from gradfaith.data.phantom.chest import SKIN, Anatomy, Section, side_angle
from gradfaith.data.phantom.geometry import (
    ANGLE,
    ANGLES,
    Ellipse,
    Field,
    Waves,
    blend,
    pixel_coverage,
    smooth_step,
)

_LAYER = 0.048  # pleura, ribs and intercostal muscles
_RIB_MIDDLE, _RIB_THICKNESS, _RIB_HEIGHT, _RIB_DESCENT = 0.028, 0.017, 0.032, 0.66


def paint_wall(image: Field, anatomy: Anatomy, waves: Waves, z: float, at: Section, strands: Field) -> None:
    """Draw everything between the skin and the chest cavity, in place; `strands` is the texture of fat."""
    on = at.on
    blend(image, at.body, anatomy.soft - 50)  # skin
    inner = pixel_coverage(at.skin + np.float32(SKIN), on.pixel)
    blend(image, inner, np.float32(9) * strands + np.float32(anatomy.adipose))
    muscle = pixel_coverage(at.outside - _layer(anatomy, z).take(at.entry), on.pixel)
    for part in _muscles(anatomy, waves, z):
        window = part.window(on)
        covered = pixel_coverage(part.distance(on.x[window], on.y[window]), max(on.pixel, 0.012))
        np.maximum(muscle[window], covered, out=muscle[window])
    muscle *= inner
    muscle *= 1 - np.float32(0.5) * np.clip(strands - np.float32(1.1), 0, 1)  # fat between the fibres
    blend(image, muscle, anatomy.soft + 10)
    _ribs(image, anatomy, z, at)
    _shoulder_blades(image, anatomy, waves, z, at)


def _layer(anatomy: Anatomy, z: float) -> Field:  # (ANGLES,)
    """Return how far the inner layer of muscle reaches over the angle: broader at the side (serratus, latissimus)."""
    lower = smooth_step(0.25, 0.55, chest.level_of(anatomy, z))
    reach: Field = np.float32((0.018 + 0.050 * lower) * anatomy.muscle / 0.080) * _side() + np.float32(_LAYER)
    return reach


@lru_cache(maxsize=1)
def _side() -> Field:  # (ANGLES,)
    side: Field = np.exp(-(((side_angle() - 1.95) / 0.42) ** 4)).astype(np.float32)
    return side


def _beside(
    radius: Field, aside: float, hand: int, offset: float, along: float, thick: float, turn: float = 0.0
) -> Ellipse:
    """Return an ellipse at `offset` outside an outline, along it; `aside` is the angle from the front."""
    angles = [-math.pi / 2 + hand * (aside + step) for step in (-0.1, 0.0, 0.1)]
    reach = [
        float(radius[int((angle + math.pi) % (2 * math.pi) / (2 * math.pi) * ANGLES)]) + offset for angle in angles
    ]
    (x, y), (u, v) = ((r * math.cos(a), r * math.sin(a)) for r, a in ((reach[1], angles[1]), (reach[2], angles[2])))
    x_before, y_before = reach[0] * math.cos(angles[0]), reach[0] * math.sin(angles[0])
    return Ellipse(x, y, along, thick, math.atan2(v - y_before, u - x_before) + hand * turn)


def _muscles(anatomy: Anatomy, waves: Waves, z: float) -> list[Ellipse]:
    """Return the muscles outside the ribs that exist at this level."""
    level, radius = chest.level_of(anatomy, z), chest.cavity_radius(anatomy, waves, z)
    thick, upper = anatomy.muscle / 0.080, 1 - smooth_step(0.30, 0.66, level)
    high, back = 1 - smooth_step(0.38, 0.70, level), chest.spine(anatomy, z)
    parts = []
    for hand in (-1, 1):
        parts += [
            Ellipse(hand * 0.105, back.y + 0.205, 0.095, 0.070 * thick, hand * 0.12),  # erector spinae
            _beside(radius, 2.65, hand, 0.082, 0.17, 0.024 * thick),  # trapezius, rhomboid
        ]
        if high > 0.05:
            parts += [_beside(radius, 0.62, hand, 0.092, 0.22, 0.044 * thick * high)]  # pectoralis major
        if upper > 0.1:
            parts += [
                _beside(radius, 0.95, hand, 0.068, 0.12, 0.022 * thick * upper),  # pectoralis minor
                _beside(radius, 2.10, hand, 0.090, 0.19 * upper, 0.042 * thick),  # subscapularis
                _beside(radius, 2.24, hand, 0.175, 0.22 * upper, 0.054 * thick),  # infraspinatus
                _beside(radius, 1.72, hand, 0.135, 0.13 * upper, 0.080 * thick * upper, 0.5),  # teres, latissimus
            ]
    return parts


def _ribs(image: Field, anatomy: Anatomy, z: float, at: Section) -> None:
    """Draw the sections of the ribs from a table of their thickness over the angle."""
    from_spine = np.float32(math.pi) - side_angle()
    descent = np.float32(_RIB_DESCENT) * np.clip(from_spine / 2.5, 0, 1) ** 1.25
    gap = anatomy.rib_gap
    thickness = np.zeros_like(ANGLE)
    for index, hand in enumerate((-1, 1)):
        phase = (anatomy.ribs + 0.13 * index) * gap
        away = (descent - np.float32(z) + np.float32(phase)) % np.float32(gap)
        away = np.minimum(away, np.float32(gap) - away)
        half = np.float32(_RIB_THICKNESS) * np.sqrt(np.maximum(1 - (away / np.float32(_RIB_HEIGHT)) ** 2, 0))
        thickness += half * (np.cos(ANGLE) * hand > 0) * (from_spine > 0.16)
    front = np.clip((from_spine - 2.15) * 6, 0, 1)  # cartilage
    wall = np.flatnonzero((at.outside > 0) & (at.outside < _LAYER))
    wall = wall[(thickness > 0.006)[at.entry.ravel()[wall]]]
    entry, strip = at.entry.ravel()[wall], image.reshape(-1)[wall]
    bare = np.abs(at.outside.ravel()[wall] - np.float32(_RIB_MIDDLE)) - thickness[entry]
    softer = front[entry]
    cortex = anatomy.bone + (anatomy.soft + 90 - anatomy.bone) * softer
    marrow = 0.35 * anatomy.bone + (anatomy.soft + 60 - 0.35 * anatomy.bone) * softer
    blend(strip, pixel_coverage(bare, at.on.pixel), cortex.astype(np.float32))
    blend(strip, pixel_coverage(bare + np.float32(0.010), at.on.pixel), marrow.astype(np.float32))
    image.reshape(-1)[wall] = strip


def _shoulder_blades(image: Field, anatomy: Anatomy, waves: Waves, z: float, at: Section) -> None:
    """Draw the blade with its thicker lateral border and, at the top, its spine."""
    level, radius = chest.level_of(anatomy, z), chest.cavity_radius(anatomy, waves, z)
    length = 0.19 * (1 - smooth_step(0.25, 0.64, level))
    if length < 0.02:
        return
    for hand in (-1, 1):
        blade = _beside(radius, 2.20, hand, 0.128, length, 0.011, 0.12)
        blade.paint(image, at.on, 0.8 * anatomy.bone)
        edge = _beside(radius, 2.20 - 1.1 * length, hand, 0.128 + 0.05 * length, 0.032, 0.022, 0.4)
        edge.paint(image, at.on, 0.9 * anatomy.bone)
        Ellipse(edge.x, edge.y, 0.016, 0.009, edge.turn).paint(image, at.on, 0.3 * anatomy.bone)
        if level < 0.36:
            _beside(radius, 2.12, hand, 0.178, 0.09, 0.011, -0.55).paint(image, at.on, 0.75 * anatomy.bone)


def paint_midline_bones(image: Field, anatomy: Anatomy, waves: Waves, z: float, at: Section, grain: Field) -> None:
    """Draw the vertebra and the sternum, in place; `grain` is the texture of marrow."""
    _spine(image, anatomy, z, at, grain)
    level = chest.level_of(anatomy, z)
    radius = chest.cavity_radius(anatomy, waves, z)
    front = -float(radius[ANGLES // 4]) - 0.034
    wide = 0.075 + 0.06 * (1 - smooth_step(0.2, 0.34, level))
    Ellipse(0.0, front, wide, 0.032).paint(image, at.on, 0.75 * anatomy.bone)
    Ellipse(0.0, front, wide - 0.014, 0.019).paint(image, at.on, 0.22 * anatomy.bone)


def _spine(image: Field, anatomy: Anatomy, z: float, at: Section, grain: Field) -> None:
    """Draw the vertebral body with a cortical rim, canal with the cord, arch, spinous and transverse processes."""
    on, front, bone = at.on, chest.spine(anatomy, z), anatomy.bone
    back = front.y + front.down
    beat = 0.5 + 0.5 * math.cos(2 * math.pi * (z / 0.14 + anatomy.ribs))  # processes come and go between vertebrae
    for hand in (-1, 1):
        Ellipse(hand * 0.100, back + 0.040, 0.035 + 0.055 * beat, 0.018, hand * 0.25).paint(image, on, 0.75 * bone)
        Ellipse(hand * 0.060, back + 0.020, 0.022, 0.030).paint(image, on, 0.8 * bone)  # pedicle
        Ellipse(hand * 0.034, back + 0.080, 0.042, 0.013, hand * 0.6).paint(image, on, 0.9 * bone)  # lamina
    Ellipse(0.0, back + 0.125, 0.013, 0.028 + 0.022 * beat).paint(image, on, 0.8 * bone)
    cortex = (0.55 + 0.35 * (1 - beat)) * bone  # an end plate is bright across
    front.paint(image, on, cortex)
    marrow = grain * np.float32(22) + np.float32((0.28 + 0.2 * (1 - beat)) * bone)
    Ellipse(front.x, front.y, front.across - 0.012, front.down - 0.012).paint(image, on, marrow)
    Ellipse(0.0, back + 0.042, 0.044, 0.038).paint(image, on, -10.0)
    Ellipse(0.0, back + 0.042, 0.026, 0.022).paint(image, on, anatomy.soft)
