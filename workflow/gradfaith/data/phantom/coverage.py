"""Draw without a drawing library: how much of each pixel a shape covers, from the distance of the pixel to the shape.

    coverage = 1/2 - distance / width, cut to [0, 1],    distance: negative inside;  width: of the edge, about a pixel

So a mask is exactly `coverage >= 1/2`, and has no jitter. Cost: a few operations per pixel and line.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]  # (size, size)


def plane_coordinates(size: int) -> tuple[Plane, Plane]:
    """Return x and y of the middle of every pixel; the image runs from -1 to 1."""
    y, x = 2 * (np.mgrid[:size, :size] + 0.5) / size - 1
    return x, y


def cover(distance: Plane, width: float) -> Plane:
    """Return the coverage of each pixel by the region of negative distance, with an edge of `width`."""
    return np.asarray((0.5 - distance / width).clip(0, 1))


def distance_to_line(x: Plane, y: Plane, points: NDArray[np.float64]) -> Plane:
    """Return the distance of every pixel to a line through points (n, 2)."""
    nearest = np.full(x.shape, np.inf)
    for start, end in pairwise(points):
        step = end - start
        share = (((x - start[0]) * step[0] + (y - start[1]) * step[1]) / max(float(step @ step), 1e-12)).clip(0, 1)
        nearest = np.minimum(nearest, np.hypot(x - start[0] - share * step[0], y - start[1] - share * step[1]))
    return nearest
