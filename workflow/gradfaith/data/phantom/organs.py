"""Draw the inside of the chest: heart, great vessels, airways, lung parenchyma; and the couch and cloth outside.

Painting order is from outside to inside, in Hounsfield units. Mediastinal organs have blurred borders in fat: the great
vessels FIRM wide, the heart and its chambers `chest.SOFT`, as pulsation leaves them. Aerated lung is

    HU = lung + gravity y + mottle (lung texture) + LOBULE (g + SKEW (g^2 - 1)),      g: lobular texture

denser at the back, where a lying patient's lung is compressed; the square makes the fine texture skewed to dense, as
interstitium and vessels below a pixel do.
"""

import numpy as np

from gradfaith.data.phantom import chest, wall
from gradfaith.data.phantom.chest import Anatomy, Section
from gradfaith.data.phantom.geometry import (
    ANGLE,
    Ellipse,
    Field,
    Frame,
    Waves,
    blend,
    pixel_coverage,
    smooth_step,
    texture,
)
from gradfaith.data.phantom.lung_trees import LungTrees, bronchus_section, vessel_section

AIR = -1000.0
FIRM = 0.012  # width of the border of a great vessel
_LOBULE = 24.0  # Hounsfield units
_SKEW = 0.4


def paint_anatomy(
    anatomy: Anatomy, waves: Waves, trees: LungTrees, z: float, at: Section, on: Frame
) -> Field:  # (h, w)
    """Draw a section of the patient without lesions; `on` is the image's frame, `at.on` the bent one."""
    image = np.full(at.body.shape, AIR, np.float32)
    _couch(image, anatomy, waves, on)
    _cloth(image, anatomy, waves, z, at)
    strands, grain = texture("fat", len(image), waves, z), texture("lobule", len(image), waves, z)
    wall.paint_wall(image, anatomy, waves, z, at, strands)
    blend(image, at.cavity, np.float32(9) * strands + np.float32(anatomy.emptiness))
    _mediastinum(image, anatomy, z, at.on)
    blend(image, at.lungs, _parenchyma(anatomy, waves, z, on, grain))
    blend(image, vessel_section(trees, z, on) * at.lungs, anatomy.blood - 20)
    walls, lumens = (share * at.lungs for share in bronchus_section(trees, z, on))
    blend(image, walls, anatomy.soft - 30)
    blend(image, lumens, -960.0)
    _airways(image, anatomy, z, at.on)
    wall.paint_midline_bones(image, anatomy, waves, z, at, grain)
    return image


def _couch(image: Field, anatomy: Anatomy, waves: Waves, on: Frame) -> None:
    """Draw the couch, level for any tilt: two curved shells, or one closed shell with a foam core on a foot."""
    size, pixel = image.shape[0], on.pixel
    bottom = anatomy.centre_y + float((chest.skin_radius(anatomy, waves, 0.0) * np.sin(ANGLE)).max())
    bottom += 0.014 + anatomy.couch_gap
    axis = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(2 / size) - 1
    closed = anatomy.couch >= 0.5
    rows = slice(max(int((bottom - anatomy.couch_curve - 0.1 + 1) / pixel), 0), size)
    square = (axis * axis)[None, :]
    top = axis[rows, None] - np.float32(bottom) + np.float32(anatomy.couch_curve) * square
    slope = np.sqrt(1 + (2 * np.float32(anatomy.couch_curve) * axis) ** 2)[None, :]
    deep = np.float32(0.16) * (1 - square / np.float32(0.92)) if closed else np.full_like(square, 0.15)
    if closed:
        image[rows][(top > 0) & (top < deep)] = -975.0
    for shell in (top, top - deep):
        shown = pixel_coverage((np.abs(shell) - np.float32(0.007)) / slope, pixel) * np.float32(min(1.0, 0.014 / pixel))
        blend(image[rows], shown * (deep > -0.01), 40.0)
    if closed:
        foot = (
            np.abs(axis)[None, :] - np.float32(0.32 * anatomy.couch - 0.08) - np.float32(1.3) * (np.float32(0.16) - top)
        )
        slot = np.maximum(np.abs(axis)[None, :] - np.float32(0.06), np.abs(top - np.float32(0.105)) - np.float32(0.012))
        inside = np.maximum(np.maximum(foot, np.float32(0.055) - top), np.float32(0.006) - slot)
        blend(image[rows], pixel_coverage(inside, pixel) * (top < 0.16), 60.0)


def _cloth(image: Field, anatomy: Anatomy, waves: Waves, z: float, at: Section) -> None:
    """Draw a thin fold of cloth over the patient: hardly denser than air."""
    if anatomy.blanket <= 0:
        return
    folds = sum(a * np.sin((9 + 4 * i) * ANGLE + phase + 3 * z) for i, (a, _, _, phase) in enumerate(waves))
    height = np.float32(anatomy.blanket) * (0.35 + 0.3 * np.abs(folds)).astype(np.float32)
    height[np.sin(ANGLE) > -0.15] = 9.0
    above = np.flatnonzero((at.skin > 0.01) & (at.skin < 0.16))
    away = np.abs(at.skin.ravel()[above] - height[at.entry.ravel()[above]])
    image.reshape(-1)[above] += pixel_coverage(away - np.float32(0.002), at.on.pixel) * np.float32(70)


def _mediastinum(image: Field, anatomy: Anatomy, z: float, on: Frame) -> None:
    """Draw aorta, pulmonary trunk, great veins and arteries, oesophagus, heart and domes, each at its levels."""
    level, wide, blood = chest.level_of(anatomy, z), anatomy.aorta, anatomy.blood
    lower = smooth_step(0.32, 0.45, level)
    parts: list[tuple[Ellipse, float]] = [(Ellipse(0.035, 0.125, 0.030, 0.020), anatomy.soft)]
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
    if level > 0.34:
        parts += [(Ellipse(0.110, 0.05 + 0.13 * lower, wide, wide), blood)]
    for part, value in parts:
        part.paint(image, on, value, FIRM)
    _heart(image, anatomy, z, on)
    for dome in chest.domes(anatomy, z):
        dome.paint(image, on, anatomy.soft + 20, 2 * chest.SOFT)


def _heart(image: Field, anatomy: Anatomy, z: float, on: Frame) -> None:
    """Draw the heart inside its fat: muscle, then two ventricles and an atrium with the blood's contrast."""
    outline = chest.heart(anatomy, z)
    if not outline:
        return
    fat = 0.014
    across, down = max(outline.across - fat, 0.02), max(outline.down - fat, 0.02)
    Ellipse(outline.x, outline.y, across, down, outline.turn).paint(image, on, anatomy.soft + 5, chest.SOFT)
    chambers = (
        (0.07, 0.035, 0.42, 0.40, 0.6, 0.0),
        (-0.05, -0.06, 0.40, 0.34, 0.35, -8.0),
        (-0.13, 0.05, 0.28, 0.42, 0.1, -4.0),
    )
    scale = across / 0.27
    for x, y, wide, high, turn, paler in chambers:
        part = Ellipse(outline.x + x * scale, outline.y + y * scale, wide * across, high * down, turn)
        part.paint(image, on, anatomy.blood + paler, 1.6 * chest.SOFT)


def _parenchyma(anatomy: Anatomy, waves: Waves, z: float, on: Frame, grain: Field) -> Field:
    """Return aerated lung: denser at the back, mottled at several scales."""
    tissue = grain * (np.float32(_SKEW * _LOBULE) * grain + np.float32(_LOBULE))
    tissue += np.float32(anatomy.mottle) * texture("lung", len(grain), waves, z)
    tissue += np.float32(anatomy.gravity) * on.y + np.float32(anatomy.lung - _SKEW * _LOBULE)
    return tissue


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
