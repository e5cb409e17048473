"""Draw the inside of the outlines: vessels, bones, heart, airways, lung parenchyma; and the couch.

The vessel trees of both lungs fork and taper from the hilum, and a section cuts them at any angle.

    each generation: two children per branch, turned apart by 20 to 50 degrees, length x 0.8, radius x 0.76

(Murray's law gives 2 ** (-1/3) = 0.79 for even forks; a slightly smaller value keeps the rim of the lung free of thick
vessels.) A branch is a chain of balls; a section at z shows each as the disc sqrt(r^2 - (z - z_ball)^2). A vessel parallel to
z therefore appears as a round dot, as in a patient, and looks like a small nodule. Only branches that can meet a slice are
grown. Cost: the tree about 2 ms once per patient, a section of 224 pixels about 1 ms.

Ribs are cut at an angle, so each is a short bright arc along the chest wall with a darker marrow; they move along the wall
from section to section. Painting order is from outside to inside, in Hounsfield units.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gradfaith import rng
from gradfaith.data.phantom import chest
from gradfaith.data.phantom.chest import Anatomy, Section, Waves, draw_anatomy
from gradfaith.data.phantom.geometry import ANGLE, Ellipse, Field, Frame, blend, pixel_coverage, smooth_step

_GENERATIONS, _BALLS, _SLAB = 6, 14, 0.004
_NEAR, _WIDE = 0.07, 0.72  # balls further than these from the patient's level or middle meet no slice of a lung


@dataclass(frozen=True)
class VesselTree:
    """The balls that make up a patient's vessels; lengths in half fields of view."""

    x: Field  # (n,)
    y: Field  # (n,)
    z: Field  # (n,)
    radius: Field  # (n,)


@lru_cache(maxsize=64)
def grow_vessels(seed: int, patient: int, difficulty: float) -> VesselTree:
    """Grow the vessel trees of both lungs; a harder phantom has more stems."""
    anatomy, stream = draw_anatomy(seed, patient), rng.generator(seed, "phantom", patient, "vessels")
    chains = [
        _lung_vessels(stream, hand, anatomy.vessels * (0.7 + 0.6 * difficulty), anatomy.calibre) for hand in (-1, 1)
    ]
    return VesselTree(*np.concatenate(chains).astype(np.float32).T.copy())


def _lung_vessels(
    stream: np.random.Generator, hand: int, density: float, calibre: float
) -> NDArray[np.float64]:  # (n, 4)
    stems = round(26 * density)
    start = np.stack(
        [hand * stream.uniform(0.12, 0.2, stems), stream.uniform(-0.08, 0.12, stems), stream.uniform(-0.5, 0.5, stems)],
        1,
    )
    azimuth = stream.uniform(-1.5, 1.5, stems)
    rise = stream.uniform(-0.9, 0.9, stems)
    heading = np.stack([hand * np.cos(azimuth) * np.cos(rise), np.sin(azimuth) * np.cos(rise), np.sin(rise)], 1)
    length, radius = stream.uniform(0.14, 0.24, stems), calibre * stream.uniform(0.015, 0.030, stems)
    balls, along = [], np.linspace(0, 1, _BALLS)[:, None]  # (balls, 1)
    for _ in range(_GENERATIONS):
        end = start + heading * length[:, None]
        bend = stream.normal(0, 0.4, start.shape) * length[:, None]
        met = (np.minimum(start[:, 2], end[:, 2]) < _NEAR) & (np.maximum(start[:, 2], end[:, 2]) > -_NEAR)
        line = start[met, None] + along * (end - start)[met, None] + along * (1 - along) * bend[met, None]
        width = (1 - 0.2 * along) * radius[met, None, None]
        balls.append(np.concatenate([line, width], axis=2).reshape(-1, 4))
        start, heading = np.repeat(end, 2, axis=0), _fork(stream, heading)
        radius, length = np.repeat(radius * 0.76, 2), np.repeat(length * 0.8, 2)
        length *= stream.uniform(0.75, 1.2, len(length))
        kept = np.abs(start[:, 2]) < _NEAR + 1.3 * length  # the rest can hardly come back into a slice
        kept &= (np.abs(start[:, 0]) < _WIDE) & (np.abs(start[:, 1]) < _WIDE)
        start, heading, radius, length = start[kept], heading[kept], radius[kept], length[kept]
    found: NDArray[np.float64] = np.concatenate(balls)
    return found[np.abs(found[:, 2]) < _NEAR]


def _fork(stream: np.random.Generator, heading: NDArray[np.float64]) -> NDArray[np.float64]:  # (n, 3) -> (2n, 3)
    """Return two headings per branch, turned apart in a random plane."""
    across = stream.normal(size=heading.shape)
    across -= heading * (across * heading).sum(axis=1, keepdims=True)
    across /= np.sqrt((across * across).sum(axis=1, keepdims=True)) + 1e-9
    turn = np.tan(stream.uniform(0.35, 0.85, (len(heading), 2)))
    pair: NDArray[np.float64] = np.stack([heading + across * turn[:, :1], heading - across * turn[:, 1:]], 1).reshape(
        -1, 3
    )
    pair /= np.sqrt((pair * pair).sum(axis=1, keepdims=True))
    return pair


def vessel_section(tree: VesselTree, z: float, on: Frame) -> Field:  # (h, w), how much of each pixel is vessel
    """Draw the discs that a section at z cuts out of the balls, in small patches."""
    height = np.maximum(np.abs(tree.z - np.float32(z)) - np.float32(_SLAB), 0)
    near = np.flatnonzero(height < tree.radius)
    column, row = on.pixels(tree.x[near], tree.y[near])
    radius = np.sqrt(tree.radius[near] ** 2 - height[near] ** 2) / np.float32(on.pixel)
    size = on.x.shape[0]
    drawn = np.zeros((size, size), np.float32)
    for least, most in ((0.0, 1.5), (1.5, 3.5), (3.5, 8.5), (8.5, np.inf)):
        chosen = (radius >= least) & (radius < most)
        if chosen.any():
            _paint_discs(drawn, column[chosen], row[chosen], radius[chosen])
    return drawn


def _paint_discs(drawn: Field, column: Field, row: Field, radius: Field) -> None:
    half = int(np.ceil(radius.max() + 0.5))
    steps = np.arange(-half, half + 1, dtype=np.int32)
    left, top = np.rint(column).astype(np.int32), np.rint(row).astype(np.int32)
    across = steps[None, :] + left[:, None]  # (n, k)
    down = steps[None, :] + top[:, None]
    far = np.sqrt((across - column[:, None])[:, None, :] ** 2 + (down - row[:, None])[:, :, None] ** 2)  # (n, k, k)
    cover = np.clip(radius[:, None, None] + 0.5 - far, 0, 1) * np.minimum(1, 2 * radius)[:, None, None]
    size = drawn.shape[0]
    inside = ((down >= 0) & (down < size))[:, :, None] & ((across >= 0) & (across < size))[:, None, :] & (cover > 0)
    where = down[:, :, None] * size + across[:, None, :]
    np.maximum.at(drawn.reshape(-1), where[inside], cover[inside].astype(np.float32))


AIR = -1000.0


def paint_body(anatomy: Anatomy, waves: Waves, z: float, at: Section, on: Frame) -> Field:  # (h, w)
    """Draw everything but lung vessels and nodules, in Hounsfield units."""
    image = np.full(at.body.shape, AIR, np.float32)
    _couch(image, anatomy, waves, on)
    blend(image, at.body, anatomy.adipose)
    blend(image, at.muscle, anatomy.soft + 10)
    _ribs(image, anatomy, z, at, on)
    blend(image, at.cavity, anatomy.emptiness)
    _mediastinum(image, anatomy, z, on)
    blend(image, at.lungs, _parenchyma(anatomy, waves, z, on))
    _airways(image, anatomy, z, on)
    _spine(image, anatomy, z, on)
    _chest_bones(image, anatomy, z, on)
    return image


def _couch(image: Field, anatomy: Anatomy, waves: Waves, on: Frame) -> None:
    """Draw a thin shell with a foam core, curved upwards at its sides; it is level for any tilt of the patient."""
    size = image.shape[0]
    _, skin = chest.wall_radii(anatomy, waves, 0.0)
    bottom = anatomy.centre_y + float((skin * np.sin(ANGLE)).max()) + 0.012 + anatomy.couch_gap
    axis = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(2 / size) - 1
    top = np.float32(bottom) - np.float32(anatomy.couch_curve) * (axis * axis)[None, :]
    rows = slice(max(int((bottom - anatomy.couch_curve - 0.1 + 1) / on.pixel), 0), size)
    below = axis[rows, None] - top
    for start, thickness, value in ((0.0, 0.012, -450.0), (0.012, 0.075, -960.0), (0.087, 0.012, -500.0)):
        inside = np.abs(below - np.float32(start + thickness / 2)) - np.float32(thickness / 2)
        strength = min(1.0, thickness / on.pixel)
        blend(image[rows], pixel_coverage(inside, on.pixel) * np.float32(strength), value)


def _ribs(image: Field, anatomy: Anatomy, z: float, at: Section, on: Frame) -> None:
    """Draw bright arcs in the wall; their thickness is a table over the angle."""
    thickness = np.zeros_like(ANGLE)
    side = np.abs(
        np.mod(ANGLE + np.float32(1.5 * np.pi), np.float32(2 * np.pi)) - np.float32(np.pi)
    )  # 0 front, pi back
    for index, hand in enumerate((-1, 1)):
        shift = (anatomy.ribs + 0.13 * index + 1.6 * z) % 1.0
        where = 0.45 + (np.arange(7, dtype=np.float32)[:, None] + np.float32(shift)) * np.float32(anatomy.rib_gap)
        arcs = np.maximum(1 - ((side - where) / (0.11 + 0.05 * np.sin(where))) ** 2, 0) * (
            where < 2.95
        )  # (ribs, ANGLES)
        thickness += np.float32(0.024) * np.sqrt(arcs.max(axis=0)) * (np.cos(ANGLE) * hand > 0)
    wall = np.flatnonzero((at.outside > 0) & (at.outside < 0.08) & (thickness > 0)[at.entry])
    bare = np.abs(at.outside.ravel()[wall] - np.float32(0.036)) - thickness[at.entry.ravel()[wall]]
    flat, strip = image.reshape(-1), image.reshape(-1)[wall]
    blend(strip, pixel_coverage(bare, on.pixel), anatomy.bone)
    blend(strip, pixel_coverage(bare + np.float32(0.013), on.pixel), 0.35 * anatomy.bone)
    flat[wall] = strip


def _mediastinum(image: Field, anatomy: Anatomy, z: float, on: Frame) -> None:
    """Draw heart, aorta, pulmonary trunk, great veins and arteries, oesophagus, each at its levels."""
    level, wide, blood = chest.level_of(anatomy, z), anatomy.aorta, anatomy.blood
    lower = smooth_step(0.32, 0.45, level)
    parts: list[tuple[Ellipse, float]] = [(Ellipse(0.035, 0.155, 0.030, 0.022), anatomy.soft)]
    if level < 0.30:
        spots = (
            (-0.10, -0.10, 0.9),
            (-0.035, -0.08, 0.75),
            (0.055, -0.03, 0.6),
            (0.10, 0.05, 0.65),
            (-0.085, -0.17, 0.7),
        )
        parts += [(Ellipse(x, y, wide * size, wide * size * 0.9), blood) for x, y, size in spots]
    elif level < 0.36:
        parts += [
            (Ellipse(0.05, -0.02, wide * 0.95, wide * 2.4, -0.5), blood),
            (Ellipse(-0.10, -0.12, 0.042, 0.05), blood),
        ]
    elif level < 0.55:
        parts += [
            (Ellipse(-0.045, -0.13, wide * 1.15, wide * 1.15), blood),
            (Ellipse(-0.135, -0.07, 0.040, 0.05), blood),
        ]
        parts += [(Ellipse(0.065, -0.12, 0.06, 0.07, 0.4), blood)]
    if 0.45 < level < 0.56:
        parts += [(Ellipse(-0.06, -0.02, 0.13, 0.032, -0.15), blood), (Ellipse(0.12, -0.03, 0.08, 0.035, 0.4), blood)]
    if muscle := chest.heart(anatomy, z):
        parts += [(muscle, anatomy.soft)]
        parts += [(Ellipse(muscle.x + 0.06, muscle.y + 0.02, 0.5 * muscle.across, 0.5 * muscle.down, 0.6), blood)]
        parts += [(Ellipse(muscle.x - 0.10, muscle.y - 0.02, 0.42 * muscle.across, 0.6 * muscle.down, 0.2), blood - 10)]
    if level > 0.34:
        parts += [(Ellipse(0.115, 0.05 + 0.13 * lower, wide, wide), blood)]
    if dome := chest.liver(anatomy, z):
        parts += [(dome, anatomy.soft + 20)]
    for part, value in parts:
        part.paint(image, on, value)


def _parenchyma(anatomy: Anatomy, waves: Waves, z: float, on: Frame) -> Field:
    """Return aerated lung: denser at the back, slightly mottled."""
    mottle = np.zeros_like(on.x)
    for a, u, v, phase in waves[:2]:
        mottle += np.float32(a) * on.wave(2 * u, 2 * v, phase + 9 * z)
    mottle *= np.float32(anatomy.mottle)
    mottle += np.float32(anatomy.gravity) * on.y + np.float32(anatomy.lung)
    return mottle


def _airways(image: Field, anatomy: Anatomy, z: float, on: Frame) -> None:
    """Draw the trachea above the carina (level 0.42), and the main bronchi below it, with a thin wall."""
    level = chest.level_of(anatomy, z)
    if level < 0.42:
        spread = 0.05 * smooth_step(0.36, 0.42, level)
        tubes = [Ellipse(-0.01, 0.05, 0.042 + spread, 0.045 - 0.2 * spread)]
    elif level < 0.58:
        apart = 0.05 + 0.9 * (level - 0.42)
        tubes = [Ellipse(hand * apart - 0.01, 0.05, 0.038, 0.030, hand * 0.3) for hand in (-1, 1)]
    else:
        tubes = []
    for tube in tubes:
        Ellipse(tube.x, tube.y, tube.across + 0.012, tube.down + 0.012, tube.turn).paint(image, on, anatomy.soft)
        tube.paint(image, on, -990.0)


def _spine(image: Field, anatomy: Anatomy, z: float, on: Frame) -> None:
    """Draw the vertebral body with a cortical rim, canal with the cord, arch, spinous and transverse processes."""
    front, bone = chest.spine(anatomy, z), anatomy.bone
    back = front.y + front.down
    beat = 0.5 + 0.5 * np.cos(2 * np.pi * (z / 0.14 + anatomy.ribs))  # processes come and go between vertebrae
    reach = 0.055 + 0.05 * beat
    for hand in (-1, 1):
        Ellipse(hand * 0.105, back + 0.035, reach, 0.026, hand * 0.45).paint(image, on, 0.75 * bone)
        Ellipse(hand * 0.055, back + 0.095, 0.055, 0.02, hand * 0.75).paint(image, on, 0.85 * bone)
    Ellipse(0.0, back + 0.125, 0.017, 0.030 + 0.02 * beat).paint(image, on, 0.8 * bone)
    front.paint(image, on, bone)
    Ellipse(front.x, front.y, front.across - 0.016, front.down - 0.016).paint(image, on, 0.45 * bone)
    Ellipse(0.0, back + 0.045, 0.052, 0.043).paint(image, on, -10.0)
    Ellipse(0.0, back + 0.045, 0.028, 0.023).paint(image, on, anatomy.soft)


def _chest_bones(image: Field, anatomy: Anatomy, z: float, on: Frame) -> None:
    """Draw the sternum in front, and shoulder blades behind at upper levels."""
    level = chest.level_of(anatomy, z)
    front = -(anatomy.depth * (0.85 + 0.15 * smooth_step(0.0, 0.5, level))) - 0.035
    Ellipse(0.0, front, 0.085 + 0.03 * (level < 0.3), 0.030).paint(image, on, 0.8 * anatomy.bone)
    Ellipse(0.0, front, 0.070, 0.017).paint(image, on, 0.35 * anatomy.bone)
    length = 0.17 * (1 - smooth_step(0.25, 0.62, level))
    if length > 0.02:
        for hand in (-1, 1):
            x, y = hand * (anatomy.width * 0.80 + 0.06), 0.68 * anatomy.depth + 0.05
            Ellipse(x, y, length, 0.020, -hand * 0.75).paint(image, on, 0.85 * anatomy.bone)
