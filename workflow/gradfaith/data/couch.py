"""What the couch looks like in an axial CT slice: thin bright lines beside and below the body.

    lines  = image - opening(image, 7 pixels upright), outside the body, where it exceeds FAINT
    couch  = lines in the lower half, in the outer 36 % of the columns on either side
    cosine = the best of shifts by up to 2 pixels

A couch keeps its height while a patient is scanned and differs between patients, so it tells scans apart when the
anatomy has changed beyond recognition from heart to apex. An image of 256 pixels is expected. A cropped picture shows no
couch: its energy (the sum of squares) is low, which is no evidence for anything.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gradfaith.data import lungs

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
