"""The vessel trees of both lungs: they fork and taper from the hilum, and a section cuts them at any angle.

    each generation: two children per branch, turned apart by 20 to 50 degrees, length x 0.8, radius x 0.76

(Murray's law asks 2 ** (-1/3) = 0.79 for even forks; a little less keeps the rim of the lung free of thick vessels.)
A branch is a chain of balls; a section at z shows of each the disc sqrt(r^2 - (z - z_ball)^2). A vessel that stands
upright therefore shows as a round dot, as in a patient, and is the natural look-alike of a small nodule. Only what can
meet a slice is grown. Cost: the tree about 2 ms once per patient, a section of 224 pixels about 1 ms.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gradfaith import rng
from gradfaith.data.phantom.anatomy import draw
from gradfaith.data.phantom.frame import Field, Frame

_GENERATIONS, _BALLS, _SLAB = 6, 14, 0.004
_NEAR, _WIDE = 0.07, 0.72  # balls further than these from the patient's level or middle meet no slice of a lung


@dataclass(frozen=True)
class Tree:
    """All balls of a patient's vessels."""

    x: Field  # (n,)
    y: Field  # (n,)
    z: Field  # (n,)
    radius: Field  # (n,)


@lru_cache(maxsize=64)
def grow(seed: int, patient: int, difficulty: float) -> Tree:
    """Both lungs' trees; a harder phantom has more stems."""
    anatomy, stream = draw(seed, patient), rng.generator(seed, "phantom", patient, "vessels")
    chains = [_lung(stream, hand, anatomy.vessels * (0.7 + 0.6 * difficulty), anatomy.calibre) for hand in (-1, 1)]
    return Tree(*np.concatenate(chains).astype(np.float32).T.copy())


def _lung(stream: np.random.Generator, hand: int, many: float, calibre: float) -> NDArray[np.float64]:  # (n, 4)
    stems = round(26 * many)
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
    """Two headings per branch, turned apart in a random plane."""
    across = stream.normal(size=heading.shape)
    across -= heading * (across * heading).sum(axis=1, keepdims=True)
    across /= np.sqrt((across * across).sum(axis=1, keepdims=True)) + 1e-9
    turn = np.tan(stream.uniform(0.35, 0.85, (len(heading), 2)))
    pair: NDArray[np.float64] = np.stack([heading + across * turn[:, :1], heading - across * turn[:, 1:]], 1).reshape(
        -1, 3
    )
    pair /= np.sqrt((pair * pair).sum(axis=1, keepdims=True))
    return pair


def section(tree: Tree, z: float, on: Frame) -> Field:  # (h, w), how much of each pixel is vessel
    """The discs a section at z cuts out of the balls, drawn together in small patches."""
    height = np.maximum(np.abs(tree.z - np.float32(z)) - np.float32(_SLAB), 0)
    near = np.flatnonzero(height < tree.radius)
    column, row = on.pixels(tree.x[near], tree.y[near])
    radius = np.sqrt(tree.radius[near] ** 2 - height[near] ** 2) / np.float32(on.pixel)
    size = on.x.shape[0]
    drawn = np.zeros((size, size), np.float32)
    for least, most in ((0.0, 1.5), (1.5, 3.5), (3.5, 8.5), (8.5, np.inf)):
        chosen = (radius >= least) & (radius < most)
        if chosen.any():
            _discs(drawn, column[chosen], row[chosen], radius[chosen])
    return drawn


def _discs(drawn: Field, column: Field, row: Field, radius: Field) -> None:
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
