"""Draw a patient's anatomy, and outline the chest in one axial section.

Anatomy is the difference between patients: about forty numbers with the same distributions for every class. Each is
uniform in its range below. The stream depends only on the study's seed and the patient's number, so a class differs only
in its lesions. Lengths are in half fields of view (about 19 cm), materials in Hounsfield units. `level` runs from 0 at the
lung apex to 1 at the diaphragm; the lungs are HEIGHT tall. The arms are raised, as for a chest CT.

The outlines of one axial section: skin, chest cavity, mediastinum, and the lungs, which fill the rest.

    cavity(angle): a super-ellipse, irregular by a few waves, smaller towards the apex
    skin = cavity + wall + fat + shoulder + breast, flattened where the patient lies on the couch
    lungs = cavity minus a smooth union of ellipses (spine, great vessels, hila), heart and domes of the diaphragm

The beating heart and the breathing domes have borders SOFT wide, as in a scan without a trigger: 4 mm. All shapes vary
smoothly with z, the height below the patient's own level in half fields of view.
"""

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from gradfaith import rng
from gradfaith.data.phantom.geometry import (
    ANGLE,
    AngleBins,
    Ellipse,
    Field,
    Frame,
    Waves,
    angle_bins,
    distance_to,
    pixel_coverage,
    smooth_least,
    smooth_step,
    warp,
)

HEIGHT = 1.3
SOFT = 0.022  # width of a border that moves
SKIN = 0.010  # thickness


@dataclass(frozen=True)
class Anatomy:
    """The numbers that describe one patient."""

    level: float
    centre_x: float
    centre_y: float
    tilt: float
    width: float  # of the chest cavity, half
    depth: float
    squareness: float
    lean: float  # how much wider one side is
    muscle: float
    fat: float
    couch_gap: float
    couch_curve: float
    ribs: float  # phase of the rib pattern
    rib_gap: float
    bone: float  # Hounsfield units of cortical bone, and so on below
    soft: float
    adipose: float
    blood: float
    lung: float
    gravity: float  # how much denser the lung is at the back
    mottle: float
    heart: float
    heart_shift: float
    aorta: float
    hilum: float
    thymus: float
    liver: float  # the level at which its dome appears
    emptiness: float  # fat in the mediastinum
    vessels: float
    calibre: float
    wing: float  # muscles between raised arms and chest
    breast: float  # negative: none
    couch: float  # below one half: a double shell, above: a closed shell on a foot
    blanket: float  # height of the cloth over the patient; negative: none


_RANGES: dict[str, tuple[float, float]] = {
    "level": (0.22, 0.88),
    "centre_x": (-0.04, 0.04),
    "centre_y": (-0.12, 0.0),
    "tilt": (-0.10, 0.10),
    "width": (0.58, 0.69),
    "depth": (0.42, 0.51),
    "squareness": (1.95, 2.4),
    "lean": (-0.03, 0.03),
    "muscle": (0.08, 0.125),
    "fat": (0.012, 0.08),
    "couch_gap": (0.0, 0.03),
    "couch_curve": (0.06, 0.20),
    "ribs": (0.0, 1.0),
    "rib_gap": (0.118, 0.140),
    "bone": (380, 700),
    "soft": (30, 60),
    "adipose": (-120, -90),
    "blood": (40, 190),
    "lung": (-875, -815),
    "gravity": (30, 110),
    "mottle": (12, 30),
    "heart": (0.85, 1.15),
    "heart_shift": (-0.03, 0.05),
    "aorta": (0.050, 0.075),
    "hilum": (0.85, 1.15),
    "thymus": (0.02, 0.09),
    "liver": (0.66, 0.98),
    "emptiness": (-95, -10),
    "vessels": (0.75, 1.25),
    "calibre": (0.85, 1.2),
    "wing": (0.12, 0.24),
    "breast": (-0.12, 0.16),
    "couch": (0.0, 1.0),
    "blanket": (-0.05, 0.10),
}


@lru_cache(maxsize=256)
def draw_anatomy(seed: int, patient: int) -> Anatomy:
    """Draw the anatomy of a patient of a study."""
    stream = rng.generator(seed, "phantom", patient, "anatomy")
    return Anatomy(**{item.name: float(stream.uniform(*_RANGES[item.name])) for item in fields(Anatomy)})


@lru_cache(maxsize=256)
def draw_waves(seed: int, patient: int, count: int = 4) -> tuple[tuple[float, float, float, float], ...]:
    """Draw a patient's irregularities: `count` waves of an amplitude, two frequencies and a phase."""
    stream = rng.generator(seed, "phantom", patient, "waves")
    drawn = stream.uniform([0.3, 2.0, 2.0, 0.0], [1.0, 9.0, 9.0, 2 * np.pi], size=(count, 4))
    return tuple((float(a), float(u), float(v), float(phase)) for a, u, v, phase in drawn)


_UNION_WIDTH = 0.05  # width over which ellipses are joined smoothly


@dataclass(frozen=True)
class Section:
    """One axial section: coverages, and signed distances that are negative inside. All (h, w)."""

    on: Frame  # bent by the patient's irregularities; shapes are drawn on it
    entry: AngleBins  # of the angle, into tables over it
    outside: Field  # distance from the rim of the cavity
    skin: Field  # distance from the skin
    body: Field
    lungs: Field
    cavity: Field
    depth: Field  # distance to the rim of the lungs


def level_of(anatomy: Anatomy, z: float) -> float:
    """Return the level of a section between the lung apex (0) and the diaphragm (1)."""
    return anatomy.level + z / HEIGHT


@lru_cache(maxsize=64)
def cavity_radius(anatomy: Anatomy, waves: Waves, z: float) -> Field:  # (ANGLES,)
    """Return the radius of the inner chest wall over the angle."""
    grow = 0.70 + 0.30 * smooth_step(0.0, 0.5, level_of(anatomy, z))
    cos, sin, power = np.abs(np.cos(ANGLE)), np.abs(np.sin(ANGLE)), anatomy.squareness
    width, depth = anatomy.width * grow, anatomy.depth * (0.5 + 0.5 * grow)
    radius = ((cos / width) ** power + (sin / depth) ** power) ** (-1 / power)
    wobble = sum(a * np.cos((2 + i) * ANGLE + phase + u * z) for i, (a, u, _, phase) in enumerate(waves))
    front = np.exp(-(((ANGLE + np.pi / 2) / 0.3) ** 2))  # the sternum presses in a little
    wider = 0.07 * np.sin(ANGLE) * np.abs(np.cos(ANGLE)) + anatomy.lean * np.cos(ANGLE)  # at the back
    inner: Field = (radius * (1 + wider + 0.010 * wobble) - 0.02 * front).astype(np.float32)
    return inner


@lru_cache(maxsize=64)
def skin_radius(anatomy: Anatomy, waves: Waves, z: float) -> Field:  # (ANGLES,)
    """Return the radius of the skin over the angle."""
    level, back, front = level_of(anatomy, z), np.clip(np.sin(ANGLE), 0, 1), np.clip(-np.sin(ANGLE), 0, 1)
    aside = side_angle()
    upper = 1 - smooth_step(0.22, 0.66, level)
    lateral = 0.05 * np.exp(-(((aside - 1.75) / 0.45) ** 2))
    wing = anatomy.wing * upper * np.exp(-(((aside - 1.95) / 0.50) ** 2))
    pectoral = 0.05 * (1 - smooth_step(0.35, 0.75, level)) * np.exp(-(((aside - 0.75) / 0.33) ** 2))
    breast = (
        max(anatomy.breast, 0.0) * np.exp(-(((level - 0.60) / 0.22) ** 2)) * np.exp(-(((aside - 0.80) / 0.27) ** 2))
    )
    erector = 0.05 * np.exp(-(((aside - 2.72) / 0.33) ** 2)) - 0.035 * np.exp(-(((aside - np.pi) / 0.09) ** 2))
    wobble = sum(a * np.cos((1 + i) * ANGLE + 2 * phase + v * z) for i, (a, _, v, phase) in enumerate(waves))
    fat = anatomy.fat * (1 + 0.25 * wobble / len(waves) + 0.3 * front)
    wall = anatomy.muscle + 0.02 * back + fat + lateral + wing + pectoral + breast + erector
    body = np.minimum(cavity_radius(anatomy, waves, z) + wall, 0.965)
    couch = 0.96 * float((body * back).max()) / np.maximum(back, 0.05)
    return smooth_least(body, couch)


@lru_cache(maxsize=1)
def side_angle() -> Field:  # (ANGLES,)
    """Return the angle from the front, 0 to pi on both sides."""
    aside: Field = np.abs(np.mod(ANGLE + np.float32(1.5 * np.pi), np.float32(2 * np.pi)) - np.float32(np.pi))
    return aside


def spine(anatomy: Anatomy, z: float) -> Ellipse:
    """Return the outline of the vertebral body."""
    lift = 0.02 * smooth_step(0.0, 0.4, level_of(anatomy, z))
    return Ellipse(0.0, 0.52 * anatomy.depth + lift, 0.096, 0.078)


def heart(anatomy: Anatomy, z: float) -> Ellipse | None:
    """Return the outline of the heart, from its base downwards; None above it."""
    grow = smooth_step(0.42, 0.80, level_of(anatomy, z))
    if grow <= 0:
        return None
    size = anatomy.heart * (0.35 + 0.65 * grow)
    return Ellipse(0.02 + 0.09 * grow + anatomy.heart_shift, -0.34 * anatomy.depth, 0.27 * size, 0.20 * size, 0.5)


def domes(anatomy: Anatomy, z: float) -> list[Ellipse]:
    """Return the domes of the diaphragm in the lung bases: the liver on the image's left, lower the spleen and stomach.

    The tip of a dome looks like a lesion. So where the patient's slices would cut only the tip, the dome lies below them.
    """
    parts = []
    for hand, tip in ((-1, anatomy.liver), (1, anatomy.liver + 0.07)):
        rise = level_of(anatomy, z) - (anatomy.level + 0.04 if abs(anatomy.level - tip) < 0.05 else tip)
        if rise > 0:
            radius = min(0.62 * rise**0.5, 0.31)
            parts.append(Ellipse(hand * 0.54 * anatomy.width, 0.02 + 0.05 * hand, radius, 0.85 * radius, -0.3 * hand))
    return parts


def _mediastinum(anatomy: Anatomy, z: float) -> list[Ellipse]:
    """Return the organs between the lungs, as ellipses that are then joined smoothly."""
    level, bone = level_of(anatomy, z), spine(anatomy, z)
    upper = 1 - smooth_step(0.40, 0.60, level)
    narrow = 0.75 + 0.25 * smooth_step(0.1, 0.35, level)
    hila = np.exp(-(((level - 0.50) / 0.13) ** 2)) * anatomy.hilum
    arch = np.exp(-(((level - 0.32) / 0.07) ** 2))
    return [
        Ellipse(0.0, bone.y, 0.108, 0.092),
        Ellipse(0.0, bone.y + 0.16, 0.15, 0.13),
        Ellipse(0.0, 0.0, 0.120 * narrow, 0.21),
        Ellipse(0.01, -0.86 * anatomy.depth, 0.018 + 0.2 * anatomy.thymus * upper, 0.16, 0.12),
        Ellipse(0.03, -0.58 * anatomy.depth, 0.04 + 0.08 * (1 - upper), 0.17, 0.2),  # fat in front of the heart
        Ellipse(0.01, -0.44 * anatomy.depth, 0.04 + 1.1 * anatomy.thymus * upper, 0.14),
        Ellipse(0.03, -0.12, 0.14 * narrow, 0.12),
        Ellipse(
            0.115,
            0.05 + 0.13 * smooth_step(0.32, 0.45, level),
            anatomy.aorta + 0.012,
            anatomy.aorta + 0.012 + 0.1 * arch,
        ),
        Ellipse(-0.155, 0.0, 0.02 + 0.055 * hila, 0.02 + 0.07 * hila),
        Ellipse(0.155, -0.01, 0.02 + 0.05 * hila, 0.02 + 0.07 * hila),
    ]


def _smooth_union(parts: list[Ellipse], on: Frame, reach: float) -> Field:  # (h, w)
    """Return the distance to a smooth union (polynomial minimum), exact within `reach` of each part."""
    union = np.full_like(on.x, reach)
    for part in parts:
        window = part.window(on, reach)
        mine, other = union[window], part.distance(on.x[window], on.y[window])
        near = np.maximum(np.float32(_UNION_WIDTH) - np.abs(mine - other), 0)
        union[window] = np.minimum(mine, other) - near * near * np.float32(1 / (4 * _UNION_WIDTH))
    return union


@lru_cache(maxsize=8)
def _polar(on: Frame) -> tuple[Field, AngleBins]:
    """Return each pixel's distance from the patient's centre, and its angle's entry in a table."""
    distance: Field = np.sqrt(on.x * on.x + on.y * on.y)
    return distance, angle_bins(on.x, on.y)


def chest_section(anatomy: Anatomy, waves: Waves, z: float, on: Frame, reach: float = 2 * _UNION_WIDTH) -> Section:
    """Outline everything at one z; the depth is exact up to `reach` from the mediastinum."""
    on = warp(on, waves)
    distance, entry = _polar(on)
    skin = distance_to(skin_radius(anatomy, waves, z), distance, entry)
    outside = distance_to(cavity_radius(anatomy, waves, z), distance, entry)
    between = _smooth_union(_mediastinum(anatomy, z), on, reach)
    cavity = pixel_coverage(outside, on.pixel)
    lungs = cavity * (1 - pixel_coverage(between, on.pixel))
    moving = [(dome, 2 * SOFT) for dome in domes(anatomy, z)]  # a dome is cut at a shallow angle
    if muscle := heart(anatomy, z):
        moving.append((muscle, SOFT))
    for part, soft in moving:
        window = part.window(on, soft + reach)
        far = part.distance(on.x[window], on.y[window])
        lungs[window] *= 1 - pixel_coverage(far, max(soft, on.pixel))
        between[window] = np.minimum(between[window], far)
    return Section(
        on=on,
        entry=entry,
        outside=outside,
        skin=skin,
        body=pixel_coverage(skin, on.pixel),
        lungs=lungs,
        cavity=cavity,
        depth=np.maximum(outside, -between),
    )
