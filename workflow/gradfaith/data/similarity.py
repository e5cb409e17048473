"""Correlation of small pictures, by matrix products.

    ncc(a, b) = <a - mean a, b - mean b> / (|a - mean a| |b - mean b|)
    best(a, b) = the highest ncc of a's middle with b's windows, shifted by up to REACH pixels, and the other way round

Whole tables are taken in blocks of rows, so that memory stays bounded; shifts are tried only for the pairs asked for.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.float32]  # (n, h, w)
REACH, BLOCK = 4, 512


def unit(pictures: Pictures) -> NDArray[np.float32]:  # (n, h, w) -> (n, h w)
    """Each without its mean, of length 1; a constant picture becomes 0 and correlates with nothing."""
    flat = pictures.reshape(len(pictures), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(length > 1e-3, flat / np.maximum(length, 1e-3), 0).astype(np.float32)


def above(pictures: Pictures, least: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """All pairs a < b with ncc >= least, (pairs, 2), and their values."""
    rows, pairs, values = unit(pictures), [], []
    for start in range(0, len(rows), BLOCK):
        table = rows[start : start + BLOCK] @ rows[start:].T
        a, b = np.nonzero(table >= least)
        a, b, found = a[a < b], b[a < b], table[a[a < b], b[a < b]]
        pairs.append(np.stack([a, b], axis=1) + start)
        values.append(found)
    return np.concatenate(pairs).astype(np.int64), np.concatenate(values)


def best(pictures: Pictures, pairs: NDArray[np.int64]) -> NDArray[np.float32]:  # (n, h, w), (pairs, 2) -> (pairs,)
    """The best ncc over shifts of every pair asked for."""
    middle = unit(pictures[:, REACH:-REACH, REACH:-REACH])
    found = np.full(len(pairs), -1.0, dtype=np.float32)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    number = np.tile(np.arange(len(pairs)), 2)
    order = np.argsort(both[:, 0], kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(both[order, 0])) + 1) if len(order) else ():
        windows = np.stack(list(_windows(pictures[both[rows[0], 0]])))
        highest = (unit(windows) @ middle[both[rows, 1]].T).max(axis=0)
        np.maximum.at(found, number[rows], highest)
    return found


def _windows(picture: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    height, width = picture.shape[0] - 2 * REACH, picture.shape[1] - 2 * REACH
    for down in range(2 * REACH + 1):
        for across in range(2 * REACH + 1):
            yield picture[down : down + height, across : across + width]
