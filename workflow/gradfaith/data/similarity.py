"""Correlation of small pictures, by matrix products.

    ncc(a, b) = <a - mean a, b - mean b> / (|a - mean a| |b - mean b|)
    best(a, b) = the highest ncc of a's middle with b's windows, shifted by up to REACH pixels, and the other way round

Pictures may be kept as bytes: they become numbers a tile at a time, and pairs come in portions, so that memory is bounded
whatever the number of pictures. Shifts are tried only for the pairs asked for.
"""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

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
