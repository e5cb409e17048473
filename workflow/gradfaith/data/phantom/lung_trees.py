"""Grow the vessels and bronchi of both lungs in three dimensions, and cut them at any section.

Each branch forks into a continuing and a side branch:

    continuing: turned by 10 to 25 degrees, length x 0.87, radius x 0.86
    side: turned by 35 to 65 degrees, length x 0.68, radius x 0.66

For these radii r^3 splits as 0.64 + 0.29, close to Murray's law (the cubes add up to 1). Branches also taper along their
length and towards the chest wall, where only sub-pixel vessels remain: their partial volume is part of the lung's texture. A
branch is a chain of balls; a section at z shows each as the disc sqrt(r^2 - dz^2), weighted by the ball's share of the slice.
A vessel parallel to z appears as a round dot, as in a patient, and looks like a small nodule. Only branches that can meet
a slice are grown.

A bronchus accompanies each artery of the first generations, on one side of it: its lumen is 0.75 of the artery's radius and
its wall a quarter of the lumen, so both narrow together. Veins (a third of the stems) have none. Cost: about 4 ms once
per patient, and 1.5 ms for a section of 224 pixels.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith import rng
from gradfaith.data.phantom.chest import HEIGHT, Anatomy, draw_anatomy
from gradfaith.data.phantom.geometry import Field, Frame

_GENERATIONS, _WITH_BRONCHUS, _SLAB = 7, 4, 0.005
_NEAR = 0.07  # balls further than this from the patient's level meet no slice
_HILUM = 0.47  # level
_LUMEN, _WALL = 0.75, 0.25  # of the artery's radius, of the lumen's
_THINNEST = 0.008  # artery with a bronchus that is drawn


@dataclass(frozen=True)
class Balls:
    """A chain of balls; lengths in half fields of view."""

    x: Field  # (n,)
    y: Field  # (n,)
    z: Field  # (n,)
    radius: Field  # (n,)


@dataclass(frozen=True)
class LungTrees:
    """The vessels of a patient, and the lumens of the bronchi beside its arteries."""

    vessels: Balls
    bronchi: Balls


@dataclass
class _Branches:
    """Branches of one generation, before they fork."""

    start: Field  # (3, n)
    heading: Field  # (3, n)
    length: Field  # (n,)
    radius: Field  # (n,)
    artery: NDArray[np.bool_]  # (n,)


@lru_cache(maxsize=64)
def grow_trees(seed: int, patient: int, difficulty: float) -> LungTrees:
    """Grow the trees of both lungs; a harder phantom has more stems."""
    anatomy, stream = draw_anatomy(seed, patient), rng.generator(seed, "phantom", patient, "vessels")
    density = anatomy.vessels * (0.7 + 0.6 * difficulty)
    branches = _joined(_stems(stream, anatomy, round(60 * density)), _distal(stream, anatomy, round(220 * density)))
    vessels, bronchi = [], []
    for generation in range(_GENERATIONS):
        balls = max(16 - 2 * generation, 5)
        chains = _chains(stream, branches, anatomy, balls, 1.0 if generation else 0.3)
        vessels.append(_near(chains))
        if generation < _WITH_BRONCHUS:
            bronchi.append(_near(_beside(branches, chains)))
        branches = _fork(stream, branches)
    return LungTrees(Balls(*np.concatenate(vessels, axis=1)), Balls(*np.concatenate(bronchi, axis=1)))


def _near(chains: Field) -> Field:  # (4, n, balls) -> (4, m)
    return chains[:, np.abs(chains[2]) < _NEAR]


def _stems(stream: np.random.Generator, anatomy: Anatomy, count: int) -> _Branches:
    """Draw the first branches of both lungs: from the hilum into all directions."""
    middle, hand = (_HILUM - anatomy.level) * HEIGHT, np.where(np.arange(count) % 2, 1.0, -1.0)
    place = stream.uniform([0.10, -0.07, -0.34], [0.18, 0.11, 0.42], (count, 3))
    start = np.stack([hand * place[:, 0], place[:, 1], middle + place[:, 2]])
    azimuth, rise = stream.uniform(-1.45, 1.5, count), stream.uniform(-0.45, 0.45, count)
    rise += 1.5 * place[:, 2]  # upper stems run upwards, lower ones downwards
    heading = np.stack([hand * np.cos(azimuth) * np.cos(rise), np.sin(azimuth) * np.cos(rise), np.sin(rise)])
    length, radius = stream.uniform(0.10, 0.18, count), anatomy.calibre * (0.006 + stream.gamma(2.0, 0.0028, count))
    return _branches(start, heading, length, np.minimum(radius, 0.019), stream.random(count) < 0.65)


def _distal(stream: np.random.Generator, anatomy: Anatomy, count: int) -> _Branches:
    """Draw branches that reach the slices from elsewhere: anywhere in a lung, away from its hilum, thinner outside."""
    hand = np.where(np.arange(count) % 2, 1.0, -1.0)
    reach, angle = np.sqrt(stream.uniform(0.05, 1, count)), stream.uniform(-1.5, 1.5, count)
    across, down = 0.10 + (anatomy.width - 0.13) * reach * np.cos(angle), 0.95 * anatomy.depth * reach * np.sin(angle)
    start = np.stack([hand * across, down, stream.uniform(-0.10, 0.10, count)])
    hilum = np.stack([hand * 0.12, np.full(count, 0.02), np.full(count, 0.7 * (_HILUM - anatomy.level) * HEIGHT)])
    heading = start - hilum
    heading /= np.sqrt((heading * heading).sum(axis=0)) + 1e-9
    heading += stream.normal(0, 1, heading.shape) * np.array([[0.35], [0.35], [0.25]])
    heading /= np.sqrt((heading * heading).sum(axis=0)) + 1e-9
    radius = anatomy.calibre * (0.0028 + stream.gamma(1.5, 0.0016, count)) * (1.5 - 0.75 * reach)
    return _branches(start, heading, stream.uniform(0.06, 0.15, count), radius, stream.random(count) < 0.35)


def _branches(
    start: NDArray[Any], heading: NDArray[Any], length: NDArray[Any], radius: NDArray[Any], artery: NDArray[np.bool_]
) -> _Branches:
    single = np.float32
    return _Branches(start.astype(single), heading.astype(single), length.astype(single), radius.astype(single), artery)


def _joined(one: _Branches, other: _Branches) -> _Branches:
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return _Branches(*(np.concatenate(pair, axis=-1) for pair in pairs))


def _chains(
    stream: np.random.Generator, at: _Branches, anatomy: Anatomy, balls: int, begin: float
) -> Field:  # (4, n, balls): x, y, z, radius
    """Return the balls of slightly bent branches.

    `begin` is the share of the radius with which a branch starts: the first ones come out of the hilum or another slice.
    """
    along = np.linspace(0, 1, balls, dtype=np.float32)
    bow = stream.standard_normal((3, len(at.radius), 1), np.float32) * (np.float32(0.35) * at.length[:, None])
    chains = np.empty((4, len(at.radius), balls), np.float32)
    chains[:3] = at.start[..., None] + along * (at.heading * at.length)[..., None] + (along * (1 - along)) * bow
    rim = np.hypot(chains[0] * np.float32(1 / anatomy.width), chains[1] * np.float32(1 / anatomy.depth))
    taper = (1 - np.float32(0.14) * along) * np.minimum(np.float32(begin) + 3 * along, 1)
    chains[3] = at.radius[:, None] * taper * np.clip((np.float32(1.15) - rim) * 2, 0.25, 1)
    return chains


def _beside(at: _Branches, chains: Field) -> Field:  # (4, n, balls) -> (4, m, balls)
    """Return the lumens of the bronchi that accompany the thicker arteries."""
    chosen = at.artery & (at.radius > _THINNEST)
    x, y, z = at.heading[:, chosen]
    across = np.stack([y - 0.1 * z, 0.3 * z - x, 0.1 * x - 0.3 * y])  # heading x (0.3, 0.1, 1): at right angles to it
    across /= np.sqrt((across * across).sum(axis=0)) + np.float32(1e-9)
    lumens = chains[:, chosen].copy()
    lumens[:3] += across[..., None] * (np.float32(1 + 1.35 * _LUMEN) * lumens[3])
    lumens[3] *= np.float32(_LUMEN)
    return lumens


def _fork(stream: np.random.Generator, at: _Branches) -> _Branches:
    """Return two branches per branch, turned apart in a random plane, without those that cannot meet a slice."""
    across = stream.standard_normal(at.heading.shape, np.float32)
    across -= at.heading * (across * at.heading).sum(axis=0)
    across /= np.sqrt((across * across).sum(axis=0)) + np.float32(1e-9)
    end = at.start + at.heading * at.length
    children = []
    for side, (least, most), shorter, thinner in ((1, (0.17, 0.44), 0.87, 0.88), (-1, (0.60, 1.13), 0.68, 0.70)):
        turn = np.tan(stream.uniform(least, most, len(at.radius))).astype(np.float32)
        heading = at.heading + across * (side * turn)
        heading *= 1 / np.sqrt(1 + turn * turn)
        length = at.length * (shorter * stream.uniform(0.8, 1.2, len(at.radius))).astype(np.float32)
        children.append(_Branches(end, heading, length, at.radius * np.float32(thinner), at.artery))
    both = _joined(*children)
    ahead, reach = both.start[2] + 5 * both.heading[2] * both.length, np.float32(_NEAR) + np.float32(1.5) * both.length
    kept = (np.minimum(both.start[2], ahead) < reach) & (np.maximum(both.start[2], ahead) > -reach)  # may meet a slice
    kept &= (np.abs(both.start[0]) < 0.7) & (np.abs(both.start[1]) < 0.5) & (both.radius > 0.0024)
    return _Branches(*(part[..., kept] for part in vars(both).values()))


def vessel_section(trees: LungTrees, z: float, on: Frame) -> Field:  # (h, w), how much of each pixel is vessel
    """Draw the discs that a section at z cuts out of the vessels."""
    return _section(trees.vessels, z, on, 1.0)


def bronchus_section(trees: LungTrees, z: float, on: Frame) -> tuple[Field, Field]:
    """Draw how much of each pixel is bronchus with its wall, and how much is lumen."""
    return _section(trees.bronchi, z, on, 1 + _WALL), _section(trees.bronchi, z, on, 1.0)


def _section(balls: Balls, z: float, on: Frame, scale: float) -> Field:  # (h, w)
    size = on.x.shape[0]
    drawn = np.zeros((size, size), np.float32)
    away = np.abs(balls.z - np.float32(z))
    height = np.maximum(away - np.float32(_SLAB), 0)
    near = np.flatnonzero(height < balls.radius * np.float32(scale))
    ball, height, away = balls.radius[near] * np.float32(scale), height[near], away[near]
    column, row = on.pixels(balls.x[near], balls.y[near])
    radius = np.sqrt(ball * ball - height * height) / np.float32(on.pixel)
    chord = np.minimum(away + ball, np.float32(_SLAB)) - np.maximum(away - ball, np.float32(-_SLAB))
    share = np.minimum(chord * np.float32(1 / (2 * _SLAB)), 1)  # of the slice's thickness
    for least, most in ((0.0, 1.0), (1.0, 2.0), (2.0, 4.0), (4.0, np.inf)):
        chosen = (radius >= least) & (radius < most)
        if chosen.any():
            _paint_discs(drawn, column[chosen], row[chosen], radius[chosen], share[chosen])
    return drawn


def _paint_discs(drawn: Field, column: Field, row: Field, radius: Field, share: Field) -> None:
    """Draw discs in small patches; of a disc below a pixel, only its width across a line is covered."""
    half = int(radius.max()) + 1  # a pixel further from the nearest pixel's middle is not covered
    steps = np.arange(-half, half + 1, dtype=np.int32)
    left, top = np.rint(column).astype(np.int32), np.rint(row).astype(np.int32)
    across = steps[None, :] + left[:, None]  # (n, k)
    down = steps[None, :] + top[:, None]
    beside, below = ((at - middle[:, None]).astype(np.float32) for at, middle in ((across, column), (down, row)))
    far = np.sqrt((beside * beside)[:, None, :] + (below * below)[:, :, None])  # (n, k, k)
    cover = np.minimum(radius[:, None, None] + np.float32(0.5) - far, np.float32(1))  # negative: outside
    cover *= (share * np.minimum(1, 2 * radius))[:, None, None]
    size = drawn.shape[0]
    inside = ((down >= 0) & (down < size))[:, :, None] & ((across >= 0) & (across < size))[:, None, :] & (cover > 0.02)
    where = down[:, :, None] * size + across[:, None, :]
    np.maximum.at(drawn.reshape(-1), where[inside], cover[inside])
