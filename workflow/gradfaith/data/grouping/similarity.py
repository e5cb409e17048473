"""Correlation of small pictures, by matrix products.

    ncc(a, b) = <a - mean a, b - mean b> / (|a - mean a| |b - mean b|)
    best(a, b) = the highest ncc of a's middle with b's windows, shifted by up to REACH pixels, and the other way round

Pictures may be kept as bytes: they become numbers a tile at a time, and pairs come in portions, so that memory is bounded
whatever the number of pictures. Shifts are tried only for the pairs asked for.

What the inference of groups remembers of an image: thumbnails in bytes, 38 kB an image, so that 20 000 fit.

at64, at128   the middle square, 64 and 128 pixels across
lines         the couch's (data/grouping/similarity.py)
lungs         the box round the lungs, stretched to one size; black where there are none

What the couch looks like in an axial CT slice: thin bright lines beside and below the body.

    lines  = image - opening(image, 7 pixels upright), outside the body, where it exceeds FAINT
    couch  = lines in the lower half, in the outer 36 % of the columns on either side
    cosine = the best of shifts by up to 2 pixels

A couch keeps its height while a patient is scanned and differs between patients, so it tells scans apart when the
anatomy has changed beyond recognition from heart to apex. An image of 256 pixels is expected. A cropped picture shows no
couch: its energy (the sum of squares) is low, which is no evidence for anything.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from gradfaith.config.dataset import Cue
from gradfaith.data import lungs

Pictures = NDArray[np.uint8] | NDArray[np.float32]  # (n, h, w)
Pairs = NDArray[np.int64]  # (pairs, 2)
Values = NDArray[np.float32]  # (pairs,)
REACH, TILE, PORTION = 4, 1024, 1_000_000
FLAT = 1e-3  # a picture whose deviations from its mean are no longer than this is constant


def unit(pictures: Pictures) -> NDArray[np.float32]:  # (n, h, w) -> (n, h w)
    """Each without its mean, of length 1; a constant picture becomes 0 and correlates with nothing."""
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(length > FLAT, flat / np.maximum(length, FLAT), 0).astype(np.float32)


def above(pictures: Pictures, least: float) -> Iterator[tuple[Pairs, Values]]:
    """All pairs a < b with ncc >= least and their values, about PORTION of them at a time; at least one portion."""
    pairs, values, held = list[Pairs](), list[Values](), 0
    for top in range(0, len(pictures), TILE):
        rows = unit(pictures[top : top + TILE])
        for left in range(top, len(pictures), TILE):
            table = rows @ (rows if left == top else unit(pictures[left : left + TILE])).T
            found = np.argwhere(np.triu(table >= least, 1) if left == top else table >= least)
            pairs.append(found + np.array((top, left)))
            values.append(table[found[:, 0], found[:, 1]])
            held += len(found)
            if held >= PORTION:
                yield np.concatenate(pairs), np.concatenate(values)
                pairs, values, held = [], [], 0
    yield np.concatenate([np.zeros((0, 2), np.int64), *pairs]), np.concatenate([np.zeros(0, np.float32), *values])


def best(pictures: Pictures, pairs: Pairs) -> Values:
    """The best ncc over shifts of every pair asked for."""
    middle = pictures[:, REACH:-REACH, REACH:-REACH]
    shape, length = middle.shape[1:], _lengths(middle)
    found = np.full(len(pairs), -1.0, dtype=np.float32)
    for first, rows, others in by_first(np.concatenate([pairs, pairs[:, ::-1]])):
        windows = unit(
            sliding_window_view(pictures[first], shape).reshape(-1, *shape)
        )  # without a mean, so the middles may keep theirs
        plain = middle[others].reshape(len(others), -1).astype(np.float32)
        highest = (windows @ plain.T).max(axis=0) / length[others]
        np.maximum.at(found, rows % len(pairs), highest)
    return found


def by_first(pairs: Pairs) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Each first with the rows of its pairs and their seconds, at most TILE at a time."""
    order = np.argsort(pairs[:, 0], kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(pairs[order, 0])) + 1) if len(order) else ():
        for start in range(0, len(rows), TILE):
            some = rows[start : start + TILE]
            yield int(pairs[some[0], 0]), some, pairs[some, 1]


def _lengths(pictures: Pictures) -> NDArray[np.float32]:  # (n, h, w) -> (n,)
    """How far each is from its mean; infinitely where it is constant, so that a quotient by it is 0."""
    spread = [
        pictures[start : start + TILE].std(axis=(1, 2), dtype=np.float32) for start in range(0, len(pictures), TILE)
    ]
    length = np.concatenate(spread) * np.float32(np.sqrt(np.prod(pictures.shape[1:])))
    return np.where(length > FLAT, length, np.inf).astype(np.float32)


LUNG_BOX = (96, 72)


@dataclass(frozen=True)
class Views:
    """Of one image, or of many: then every array has a first axis more."""

    at64: NDArray[np.uint8]
    at128: NDArray[np.uint8]
    lines: NDArray[np.uint8]
    lungs: NDArray[np.uint8]
    size: NDArray[np.int64]  # width and height of the picture

    def __len__(self) -> int:
        return len(self.size)


def look(pixels: NDArray[np.uint8], cues: Sequence[Cue]) -> Views:  # (h, w)
    """One image: the middle square at 256 px and smaller."""
    height, width = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    image = np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    framed = np.zeros(LUNG_BOX[::-1], dtype=np.uint8)
    if "lungs" in cues and (air := lungs.lungs(image)).any():
        rows, columns = np.flatnonzero(air.any(axis=1)), np.flatnonzero(air.any(axis=0))
        framed = _small(
            image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], LUNG_BOX, Image.Resampling.BILINEAR
        )
    drawn = lines(image) if "couch" in cues else np.zeros((2, 1, 1), dtype=np.uint8)
    return Views(_small(image, (64, 64)), _small(image, (128, 128)), drawn, framed, np.array((width, height)))


def gathered(views: Iterable[Views], most: int) -> Views:
    """Single views as one; room for `most` is asked for at once, and only what is filled is taken."""
    names = [field.name for field in fields(Views)]
    held: dict[str, NDArray[Any]] = {}
    row = -1
    for row, view in enumerate(views):
        for name in names:
            array = getattr(view, name)
            held.setdefault(name, np.empty((most, *array.shape), array.dtype))[row] = array
    return Views(**{name: array[: row + 1] for name, array in held.items()})


def _small(image: NDArray[np.uint8], size: tuple[int, int], how: Any = Image.Resampling.BOX) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize(size, how))


SIDE, OUTER, FAINT, SHIFT, BLOCK = 256, 0.36, 12.0, 2, 512
Lines = NDArray[np.uint8]  # (2, h, w): left and right


def lines(image: NDArray[np.uint8]) -> Lines:  # (SIDE, SIDE) -> (2, h, w)
    """The couch's lines, left and right, half as fine across as down: they run nearly level. In whole grey values."""
    thin = image - ndimage.grey_opening(image, size=(7, 1)).astype(np.float32)
    thin[ndimage.binary_dilation(lungs.body(image), np.ones((3, 3)), iterations=3)] = 0
    thin[thin < FAINT] = 0
    lower, wide = thin[SIDE // 2 :], round(OUTER * SIDE) // 2 * 2
    sides = np.stack([lower[:, :wide], lower[:, -wide:]])
    soft = ndimage.gaussian_filter(sides, (0, 0.7, 0.7))
    found: Lines = np.rint(soft.reshape(*soft.shape[:2], -1, 2).mean(axis=-1)).astype(np.uint8)
    return found


def energies(found: Lines) -> NDArray[np.float32]:  # (n, 2, h, w) -> (n,)
    """The sum of squares of each image's lines."""
    blocks = (found[start : start + BLOCK].astype(np.float32) for start in range(0, len(found), BLOCK))
    return np.concatenate([np.zeros(0, np.float32), *((block**2).sum(axis=(1, 2, 3)) for block in blocks)])


def cosines(first: Lines, second: Lines) -> NDArray[np.float32]:  # (a, 2, h, w), (b, 2, h, w) -> (a, b)
    """Best cosine of every pair over small shifts of either; 0 for what has no lines."""
    return np.maximum(_shifted(first, second), _shifted(second, first).T)


def _shifted(first: Lines, second: Lines) -> NDArray[np.float32]:
    inner = first[:, :, SHIFT:-SHIFT, 1:-1]
    one = _flat(inner)
    one /= _length(one)[:, None]
    best = np.zeros((len(first), len(second)), dtype=np.float32)
    height, width = inner.shape[2:]
    for down in range(2 * SHIFT + 1):
        for across in range(3):
            other = _flat(second[:, :, down : down + height, across : across + width])
            best = np.maximum(best, one @ other.T / _length(other))
    return best


def _flat(found: Lines) -> NDArray[np.float32]:
    return found.reshape(len(found), -1).astype(np.float32)


def _length(flat: NDArray[np.float32]) -> NDArray[np.float32]:
    length: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", flat, flat))
    return np.maximum(length, np.float32(1e-6))
