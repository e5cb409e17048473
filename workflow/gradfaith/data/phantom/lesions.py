"""Draw nodules: benign ones small, smooth, sometimes calcified; malignant ones larger, lobed and spiculated.

    radius(angle, z) = R sqrt(1 - (z / H)^2) * (1 + lobes(angle, z) + spicules(angle))
    coverage = clip(1/2 - d / pixel, 0, 1) * lung coverage,      evidence = coverage >= 1/2

The evidence is the set of pixels that the nodule fills by at least half; outside it, only its direct neighbours change, for
the soft edge. A nodule is anywhere in both lungs: a benign one completely inside, a malignant one may touch the pleura and
is cut there. A share of both is hard: faint (ground glass, part solid) and smaller. Every slice of a patient contains the
nodule, which is largest at its own centre. Measured as discs at the default difficulty and 96 pixels, benign radii are 3 to
5.3 and malignant 5 to 9 pixels: larger than in a screening programme, so that a map of 6 x 6 cells can resolve them. Cost:
about 1 ms once per patient, and 1 ms for a section of 224 pixels.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from gradfaith import rng
from gradfaith.data.phantom import chest
from gradfaith.data.phantom.chest import draw_anatomy, draw_waves
from gradfaith.data.phantom.geometry import (
    ANGLE,
    Field,
    Frame,
    angle_bins,
    blend,
    distance_to,
    patient_frame,
    pixel_coverage,
)

NoduleKind = Literal["benign", "malignant"]
SPAN = 0.075  # z from a patient's first to last slice, at most
_RADII = {"benign": (0.0625, 0.104), "malignant": (0.108, 0.180)}  # half fields of view, at difficulty 1/2
_PLACING = 64  # pixels of the coarse section on which a nodule is placed, for any image size


@dataclass(frozen=True)
class Nodule:
    """One nodule; lengths in half fields of view, materials in Hounsfield units."""

    x: float
    y: float
    z: float
    radius: float
    height: float  # half its extent along z
    lobes: tuple[tuple[float, float, float], ...]  # amplitude, phase, drift along z; of 2, 3, ... waves round the rim
    spicules: tuple[tuple[float, float, float], ...]  # angle, length in radii, width in radians
    rim: float
    core: float
    core_share: float  # of the radius


@lru_cache(maxsize=256)
def draw_nodule(seed: int, patient: int, kind: NoduleKind, difficulty: float) -> Nodule:
    """Draw a patient's nodule, from its own stream."""
    stream = rng.generator(seed, "phantom", patient, "nodule")
    hard = stream.random() < 0.5 * difficulty
    radius = float(stream.uniform(*_RADII[kind])) * (1.3 - 0.6 * difficulty) * (0.9 if hard else 1.0)
    x, y, radius = _place_nodule(seed, patient, kind, radius, stream)
    many = int(stream.integers(14, 25)) if kind == "malignant" else 0
    lobes, lobe = stream.uniform([0.3, 0, -6], [1, 2 * math.pi, 6], (5 if many else 2, 3)), 0.13 if many else 0.05
    turn = stream.uniform(0, 2 * math.pi)
    spicules = [
        (
            turn + 2 * math.pi * (i + stream.uniform(-0.5, 0.5)) / many,
            stream.gamma(2.0, 0.13),
            stream.uniform(0.05, 0.11),
        )
        for i in range(many)
    ]
    rim, core, share = _material(kind, hard, stream)
    return Nodule(
        x=x,
        y=y,
        z=float(stream.uniform(-0.006, 0.006)),
        radius=radius * (0.88 if kind == "malignant" else 1.0),
        height=max(radius, 0.84 * SPAN),
        lobes=tuple((lobe * a, phase, drift) for a, phase, drift in lobes.tolist()),
        spicules=tuple(spicules),
        rim=rim,
        core=core,
        core_share=share,
    )


def _material(kind: NoduleKind, hard: bool, stream: np.random.Generator) -> tuple[float, float, float]:
    """Draw the attenuation of rim and core, and the core's share of the radius."""
    chance, solid = stream.random(), float(stream.uniform(10, 70))
    if kind == "benign" and hard:  # ground glass
        return (faint := float(stream.uniform(-480, -220))), faint, 0.0
    if kind == "benign" and chance < 0.3:  # calcified
        return solid, float(stream.uniform(250, 550)), float(stream.uniform(0.35, 0.7))
    if kind == "malignant" and hard:  # part solid
        return float(stream.uniform(-500, -350)), solid - 60, float(stream.uniform(0.35, 0.6))
    if kind == "malignant" and chance < 0.1:  # cavitated
        return solid, -930.0, float(stream.uniform(0.2, 0.4))
    return solid, solid, 0.0


def _place_nodule(
    seed: int, patient: int, kind: NoduleKind, radius: float, stream: np.random.Generator
) -> tuple[float, float, float]:
    """Choose a point of the lungs for the nodule, and its radius, smaller where no point has room for it."""
    on = patient_frame(_PLACING)
    depth = -chest.chest_section(draw_anatomy(seed, patient), draw_waves(seed, patient), 0.0, on, reach=0.3).depth
    room = float(stream.uniform(0.4, 1.1)) if kind == "malignant" else 1.15
    radius = min(radius, 0.98 * float(depth.max()) / room)
    row, column = np.nonzero(depth >= room * radius)
    chosen = int(stream.integers(len(row)))
    jitter = stream.uniform(-0.5, 0.5, 2) * on.pixel * 0.2
    at = row[chosen], column[chosen]
    return float(on.x[at] + jitter[0]), float(on.y[at] + jitter[1]), radius


def _outline(item: Nodule, z: float) -> Field:  # (ANGLES,)
    """Return the nodule's radius over the angle in a section at z; zero beyond its ends."""
    share = 1 - ((z - item.z) / item.height) ** 2
    if share <= 0:
        return np.zeros_like(ANGLE)
    shape = np.ones_like(ANGLE)
    for index, (amplitude, phase, drift) in enumerate(item.lobes):
        shape += np.float32(amplitude) * np.cos((2 + index) * ANGLE + np.float32(phase + drift * z))
    for angle, length, width in item.spicules:
        away = np.abs(
            np.mod(ANGLE - np.float32(angle) + np.float32(math.pi), np.float32(2 * math.pi)) - np.float32(math.pi)
        )
        shape += np.float32(length) * np.exp(-((away / np.float32(width)) ** 2))
    return (np.float32(item.radius * math.sqrt(share)) * shape).astype(np.float32)


def paint_nodule(image: Field, item: Nodule, z: float, lungs: Field, on: Frame) -> NDArray[np.bool_]:  # (h, w)
    """Draw a nodule into a section, in place, and return its evidence."""
    evidence, radius = np.zeros(image.shape, np.bool_), _outline(item, z)
    if not radius.any():
        return evidence
    window = on.window(item.x, item.y, float(radius.max()))
    dx, dy = on.x[window] - np.float32(item.x), on.y[window] - np.float32(item.y)
    away, entry = np.hypot(dx, dy), angle_bins(dx, dy)
    coverage = pixel_coverage(distance_to(radius, away, entry), on.pixel) * lungs[window]
    filled = coverage >= 0.5
    coverage *= binary_dilation(filled, np.ones((3, 3)))  # no trace of a spicule too thin to be evidence
    material = np.full_like(away, item.rim)
    if item.core_share:
        core = pixel_coverage(away - np.float32(item.core_share * np.median(radius)), on.pixel)
        blend(material, core, item.core)
    blend(image[window], coverage, material)
    evidence[window] = filled
    return evidence
