"""Draw cluttered backgrounds: a crowd of strokes, leaves and stripes on soft colour.

    stroke   all points within r of a line of length 3 to 9 r          leaf   where two equal discs overlap by less than half
    stripes  a stroke or leaf in two colours, in bands across it

None of them is a disc, a square or a triangle, so nothing of the background is one of the classes. A background is drawn
once, half again as wide as an image. Each image takes its own cut, flip and lighting of it (`view`): so images of one
background share their clutter, and images of two backgrounds share none. Clutter does not depend on the class.

Deterministic per (seed, background, size). Cost: about 45 ms per background of 224 pixels, and 1.5 ms per view.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gradfaith import rng

Colours = NDArray[np.float32]  # (h, w, 3), from 0 to 255
MARGIN = 1.5  # width of a background, in widths of an image
OBJECTS = 420  # of a background, if all are drawn
CACHED = 8  # backgrounds: images come background by background
BRIGHTNESS, CONTRAST, TINT = 40.0, 0.25, 20.0  # of a view, at most


@lru_cache(maxsize=CACHED)
def draw_background(seed: int, number: int, size: int, share: float = 1.0) -> NDArray[np.uint8]:  # (side, side, 3)
    """Draw one background for images of `size` pixels, with a share of its objects."""
    stream = rng.generator(seed, "clutter", number)
    side = math.ceil(MARGIN * size)
    canvas = _soft_colour(stream, side)
    palette = stream.uniform(0, 255, (24, 3)).astype(np.float32)
    for _ in range(round(share * OBJECTS)):
        _paint_object(canvas, stream, palette, size)
    return canvas.clip(0, 255).astype(np.uint8)


def view(background: NDArray[np.uint8], size: int, noise: float, stream: np.random.Generator) -> Colours:
    """Return one image's cut of a background: flipped, lit, and mixed with a share `noise` of white noise."""
    top, left = stream.integers(0, len(background) - size + 1, 2)
    cut = background[top : top + size, left : left + size]
    if stream.random() < 0.5:
        cut = cut[:, ::-1]
    if stream.random() < 0.5:
        cut = cut[::-1]
    gain = np.float32((1 - noise) * stream.uniform(1 - CONTRAST, 1 + CONTRAST))
    shift = stream.uniform(-BRIGHTNESS, BRIGHTNESS) + stream.uniform(-TINT, TINT, 3)
    grain = np.frombuffer(stream.bytes(cut.size), np.uint8).reshape(cut.shape)
    mixed = cut * gain
    mixed += (127.5 * (1 - noise - gain) + (1 - noise) * shift).astype(np.float32)
    mixed += grain * np.float32(noise)
    return mixed


def _soft_colour(stream: np.random.Generator, side: int) -> Colours:
    """Return random colours on a coarse grid, enlarged by linear interpolation."""
    coarse, at = stream.uniform(40, 215, (6, 6, 3)), np.linspace(0, 5, side)
    low = np.minimum(at.astype(int), 4)
    share = (at - low)[:, None, None]
    rows = coarse[low] * (1 - share) + coarse[low + 1] * share  # (side, 6, 3)
    weight = (at - low)[None, :, None]
    return np.asarray(rows[:, low] * (1 - weight) + rows[:, low + 1] * weight, np.float32)


def _paint_object(canvas: Colours, stream: np.random.Generator, palette: Colours, size: int) -> None:
    """Paint one stroke or leaf at a random place, inside the smallest window that contains it."""
    radius = size * math.exp(stream.uniform(math.log(0.008), math.log(0.035)))
    long, angle = radius * stream.uniform(1.5, 4.5), stream.uniform(0, math.pi)
    x, y = stream.uniform(0, len(canvas), 2)
    first, second = palette[stream.integers(0, len(palette), 2)]
    leaf, striped = stream.random() < 0.4, stream.random() < 0.35
    reach = long + radius
    top, left = max(math.floor(y - reach), 0), max(math.floor(x - reach), 0)
    window = canvas[top : math.ceil(y + reach) + 1, left : math.ceil(x + reach) + 1]
    down = np.arange(top, top + window.shape[0], dtype=np.float32)[:, None] - y
    right = np.arange(left, left + window.shape[1], dtype=np.float32)[None, :] - x
    along = right * math.cos(angle) + down * math.sin(angle)
    across = np.abs(down * math.cos(angle) - right * math.sin(angle))
    if leaf:  # of two discs whose centres lie so far apart that the leaf is `long` and `radius` wide
        far = (long**2 - radius**2) / (2 * radius)
        inside = along**2 + (across + far) ** 2 < (far + radius) ** 2
    else:
        inside = np.maximum(np.abs(along) - long, 0) ** 2 + across**2 < radius**2
    window[inside] = first
    if striped:
        window[inside & (np.sin(along * (math.pi / radius)) > 0)] = second
