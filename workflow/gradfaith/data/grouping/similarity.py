"""Measure the similarity of small images: by correlation, and by the couch in an axial CT slice.

Correlation, by matrix products:

    ncc(a, b) = <a - mean a, b - mean b> / (|a - mean a| |b - mean b|)
    best(a, b) = the highest ncc of a's middle with b's windows, shifted by up to SHIFT_REACH pixels, and vice versa

Images may be stored as bytes: they are converted one tile at a time, and pairs are returned in portions, so that memory is
bounded for any number of images. Shifts are tried only for the requested pairs.

An `ImageViews` contains the thumbnails of an image for inferring groups, in bytes: 38 kB per image, so that 20 000 images
fit into memory.

    at64, at128   the middle square, with sides of 64 and 128 pixels
    lines         the couch's lines
    lungs         the box around the lungs, stretched to one size; black if there are none

A couch appears as thin bright lines beside and below the body:

    lines  = image - opening(image, 7 pixels upright), outside the body, where it exceeds FAINT_GREY
    couch  = lines in the lower half, in the outer 36 % of the columns on either side
    cosine = the best of shifts by up to 2 pixels

A couch keeps its height while a patient is scanned, and differs between patients. So it identifies scans when the anatomy
differs too much between heart and apex. An image of 256 pixels is expected. A cropped image shows no couch: its energy (the
sum of squares) is low, and it is not compared.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from gradfaith.config.grouping import Cue
from gradfaith.data import lungs
from gradfaith.storage.atomic import ScratchRows

ImageStack = NDArray[np.uint8] | NDArray[np.float32]  # (n, h, w)
Pairs = NDArray[np.int64]  # (pairs, 2)
PairValues = NDArray[np.float32]  # (pairs,)
SHIFT_REACH = 4  # pixels of the largest shift
TILE_ROWS = 1024  # rows of one matrix product
PORTION_PAIRS = 1_000_000  # pairs per portion
CONSTANT_LENGTH = 1e-3  # an image whose deviations from its mean are no longer than this is constant


def standardise(images: ImageStack) -> NDArray[np.float32]:  # (n, h, w) -> (n, h w)
    """Return each image without its mean, scaled to length 1; a constant image becomes 0."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    flat /= np.maximum(length, CONSTANT_LENGTH)
    flat[length[:, 0] <= CONSTANT_LENGTH] = 0
    return flat


def pairs_above(
    images: ImageStack | ScratchRows, least: float, tile: int = TILE_ROWS
) -> Iterator[tuple[Pairs, PairValues]]:
    """Yield all pairs a < b with ncc >= least and their values, in portions of about PORTION_PAIRS.

    `tile`: images of one matrix product; two tiles of them are held as numbers.
    """
    pairs, values, held = list[Pairs](), list[PairValues](), 0
    for top in range(0, len(images), tile):
        rows = standardise(images[top : top + tile])
        for left in range(top, len(images), tile):
            table = rows @ (rows if left == top else standardise(images[left : left + tile])).T
            found = np.argwhere(np.triu(table >= least, 1) if left == top else table >= least)
            pairs.append(found + np.array((top, left)))
            values.append(table[found[:, 0], found[:, 1]])
            held += len(found)
            if held >= PORTION_PAIRS:
                yield np.concatenate(pairs), np.concatenate(values)
                pairs, values, held = [], [], 0
    yield np.concatenate([np.zeros((0, 2), np.int64), *pairs]), np.concatenate([np.zeros(0, np.float32), *values])


def best_correlation(images: ImageStack, pairs: Pairs) -> PairValues:
    """Return the best ncc over shifts of every pair."""
    middle = images[:, SHIFT_REACH:-SHIFT_REACH, SHIFT_REACH:-SHIFT_REACH]
    shape, length = middle.shape[1:], _spread_lengths(middle)
    found = np.full(len(pairs), -1.0, dtype=np.float32)
    for first, rows, others in group_by_first(np.concatenate([pairs, pairs[:, ::-1]])):
        windows = standardise(
            sliding_window_view(images[first], shape).reshape(-1, *shape)
        )  # without a mean, so the middles may keep theirs
        plain = middle[others].reshape(len(others), -1).astype(np.float32)
        highest = (windows @ plain.T).max(axis=0) / length[others]
        np.maximum.at(found, rows % len(pairs), highest)
    return found


def group_by_first(pairs: Pairs) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield each first image, the rows of its pairs and their second images, at most TILE_ROWS at a time."""
    order = np.argsort(pairs[:, 0], kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(pairs[order, 0])) + 1) if len(order) else ():
        for start in range(0, len(rows), TILE_ROWS):
            some = rows[start : start + TILE_ROWS]
            yield int(pairs[some[0], 0]), some, pairs[some, 1]


def _spread_lengths(images: ImageStack) -> NDArray[np.float32]:  # (n, h, w) -> (n,)
    """Return how far each image is from its mean; infinity where constant, so that a quotient by it is 0."""
    spread = [
        images[start : start + TILE_ROWS].std(axis=(1, 2), dtype=np.float32)
        for start in range(0, len(images), TILE_ROWS)
    ]
    length = np.concatenate(spread) * np.float32(np.sqrt(np.prod(images.shape[1:])))
    return np.where(length > CONSTANT_LENGTH, length, np.inf).astype(np.float32)


LUNG_BOX = (96, 72)


@dataclass(frozen=True)
class ImageViews:
    """The thumbnails of one image, or of many: then every array has one more axis at its front."""

    at64: NDArray[np.uint8]
    at128: NDArray[np.uint8]
    lines: NDArray[np.uint8]
    lungs: NDArray[np.uint8]
    size: NDArray[np.int64]  # width and height of the image

    def __len__(self) -> int:
        return len(self.size)


def view_image(pixels: NDArray[np.uint8], cues: Sequence[Cue]) -> ImageViews:  # (h, w)
    """Make the views of one image; couch and lungs only where `cues` need them."""
    height, width = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    image = np.asarray(square.resize((VIEW_SIDE, VIEW_SIDE), Image.Resampling.BILINEAR))
    framed = np.zeros(LUNG_BOX[::-1], dtype=np.uint8)
    if "lungs" in cues and (air := lungs.lung_mask(image)).any():
        rows, columns = np.flatnonzero(air.any(axis=1)), np.flatnonzero(air.any(axis=0))
        framed = _resize(
            image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], LUNG_BOX, Image.Resampling.BILINEAR
        )
    drawn = couch_lines(image) if "couch" in cues else np.zeros((2, 1, 1), dtype=np.uint8)
    return ImageViews(_resize(image, (64, 64)), _resize(image, (128, 128)), drawn, framed, np.array((width, height)))


def stack_views(views: Iterable[ImageViews], capacity: int) -> ImageViews:
    """Stack the views of single images, at most `capacity` of them; memory for all is reserved at once."""
    names = [field.name for field in fields(ImageViews)]
    held: dict[str, NDArray[Any]] = {}
    row = -1
    for row, view in enumerate(views):
        for name in names:
            array = getattr(view, name)
            held.setdefault(name, np.empty((capacity, *array.shape), array.dtype))[row] = array
    return ImageViews(**{name: array[: row + 1] for name, array in held.items()})


def _resize(
    image: NDArray[np.uint8], size: tuple[int, int], resampling: Any = Image.Resampling.BOX
) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize(size, resampling))


VIEW_SIDE = 256  # side in pixels of the image for finding lines
OUTER_SHARE = 0.36  # share of the columns, on either side, in which a couch is visible
FAINT_GREY = 12.0  # grey values below which a line is noise
COUCH_SHIFT = 2  # pixels of the largest shift of two couches
BLOCK_ROWS = 512  # images whose lines are converted at a time
CouchLines = NDArray[np.uint8]  # (2, h, w): left and right


def couch_lines(image: NDArray[np.uint8]) -> CouchLines:  # (SIDE, SIDE) -> (2, h, w)
    """Return the couch's lines, left and right, as integer grey values; half as fine across, because they are nearly level."""
    thin = image - ndimage.grey_opening(image, size=(7, 1)).astype(np.float32)
    thin[ndimage.binary_dilation(lungs.body_mask(image), np.ones((3, 3)), iterations=3)] = 0
    thin[thin < FAINT_GREY] = 0
    lower, wide = thin[VIEW_SIDE // 2 :], round(OUTER_SHARE * VIEW_SIDE) // 2 * 2
    sides = np.stack([lower[:, :wide], lower[:, -wide:]])
    soft = ndimage.gaussian_filter(sides, (0, 0.7, 0.7))
    found: CouchLines = np.rint(soft.reshape(*soft.shape[:2], -1, 2).mean(axis=-1)).astype(np.uint8)
    return found


def couch_energies(lines: CouchLines) -> NDArray[np.float32]:  # (n, 2, h, w) -> (n,)
    """Return the sum of squares of each image's lines."""
    blocks = (lines[start : start + BLOCK_ROWS].astype(np.float32) for start in range(0, len(lines), BLOCK_ROWS))
    return np.concatenate([np.zeros(0, np.float32), *((block**2).sum(axis=(1, 2, 3)) for block in blocks)])


def couch_cosines(first: CouchLines, second: CouchLines) -> NDArray[np.float32]:  # (a, 2, h, w), (b, 2, h, w) -> (a, b)
    """Return the best cosine of every pair over small shifts of either; 0 for what has no lines."""
    return np.maximum(_best_shifted_cosines(first, second), _best_shifted_cosines(second, first).T)


def _best_shifted_cosines(first: CouchLines, second: CouchLines) -> NDArray[np.float32]:
    inner = first[:, :, COUCH_SHIFT:-COUCH_SHIFT, 1:-1]
    one = _flatten(inner)
    one /= _row_lengths(one)[:, None]
    best = np.zeros((len(first), len(second)), dtype=np.float32)
    height, width = inner.shape[2:]
    for down in range(2 * COUCH_SHIFT + 1):
        for across in range(3):
            other = _flatten(second[:, :, down : down + height, across : across + width])
            best = np.maximum(best, one @ other.T / _row_lengths(other))
    return best


def _flatten(lines: CouchLines) -> NDArray[np.float32]:
    return lines.reshape(len(lines), -1).astype(np.float32)


def _row_lengths(flat: NDArray[np.float32]) -> NDArray[np.float32]:
    length: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", flat, flat))
    return np.maximum(length, np.float32(1e-6))
