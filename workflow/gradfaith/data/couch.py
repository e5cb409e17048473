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

SIDE, OUTER, FAINT, SHIFT = 256, 0.36, 12.0, 2
Lines = NDArray[np.float32]  # (2, h, w): left and right


def lines(image: NDArray[np.uint8]) -> Lines:  # (SIDE, SIDE) -> (2, h, w)
    """The couch's lines, left and right, half as fine across as down: they run nearly level."""
    thin = image - ndimage.grey_opening(image, size=(7, 1)).astype(np.float32)
    thin[ndimage.binary_dilation(lungs.body(image), np.ones((3, 3)), iterations=3)] = 0
    thin[thin < FAINT] = 0
    lower, wide = thin[SIDE // 2 :], round(OUTER * SIDE) // 2 * 2
    sides = np.stack([lower[:, :wide], lower[:, -wide:]])
    soft = ndimage.gaussian_filter(sides, (0, 0.7, 0.7))
    found: Lines = soft.reshape(*soft.shape[:2], -1, 2).mean(axis=-1).astype(np.float32)
    return found


def energy(found: Lines) -> float:
    return float((found**2).sum())


def cosines(first: Lines, second: Lines) -> NDArray[np.float32]:  # (a, 2, h, w), (b, 2, h, w) -> (a, b)
    """Best cosine of every pair over small shifts of either; 0 for what has no lines."""
    return np.maximum(_shifted(first, second), _shifted(second, first).T)


def _shifted(first: Lines, second: Lines) -> NDArray[np.float32]:
    inner = first[:, :, SHIFT:-SHIFT, 1:-1]
    one = _unit(inner)
    best = np.zeros((len(first), len(second)), dtype=np.float32)
    height, width = inner.shape[2:]
    for down in range(2 * SHIFT + 1):
        for across in range(3):
            best = np.maximum(best, one @ _unit(second[:, :, down : down + height, across : across + width]).T)
    return best


def _unit(found: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = found.reshape(len(found), -1)
    length: NDArray[np.float32] = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(length, 1e-6), dtype=np.float32)
