"""Closed outlines given as a radius over the angle: a table, looked up per pixel.

    d = (distance - radius(angle)) / sqrt(1 + (radius' / radius)^2)

The division by the slope makes d the true distance to first order, so that an edge is one pixel wide however steeply
the outline runs. ANGLES entries are a sixteenth of a pixel apart on the rim of a nodule 20 pixels in radius.
"""

import numpy as np
from numpy.typing import NDArray

from gradfaith.data.phantom.frame import Field

ANGLES = 2048
ANGLE: Field = ((np.arange(ANGLES) + 0.5) * (2 * np.pi / ANGLES) - np.pi).astype(np.float32)  # front -pi/2, back +pi/2
Bins = NDArray[np.int32]


def bins(x: Field, y: Field) -> Bins:
    """Which entry of a table each point looks up."""
    scaled = (np.arctan2(y, x) + np.float32(np.pi)) * np.float32(ANGLES / (2 * np.pi))
    return np.minimum(scaled.astype(np.int32), ANGLES - 1)


def distance_to(radius: Field, distance: Field, entry: Bins) -> Field:
    """Signed distance to an outline, negative inside, of points at `distance` from its centre."""
    slope = (np.roll(radius, -1) - np.roll(radius, 1)) * np.float32(ANGLES / (4 * np.pi))
    straight = 1 / np.sqrt(1 + (slope / radius) ** 2)
    signed: Field = distance * straight.take(entry) - (radius * straight).take(entry)
    return signed
