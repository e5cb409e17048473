"""Occlusion: the drop of the score when a window of the image is covered.

    map(p) = mean over the windows W that cover p of  S(x) - S(x with W covered)                [zeiler2014]

Windows are square and `stride` apart. The last window of a row ends at the border, so every pixel is covered at least once.
`window` and `stride` are shares of the shorter side, or pixels from 1 on. Signed: covering evidence against the class raises
the score. The fill of a window is an assumption about what "no evidence" looks like; black is air on CT.
The window size is the finest detail that the map can show. Cost: a forward for each window, and one.
"""

from typing import Literal

import torch
from torch import Tensor

from gradfaith.attribution.contract import ImageInputs, Method
from gradfaith.attribution.support.pixel_methods import baseline_images

METHOD = Method(
    needs=("image",),
    grid="input",
    signed=True,
    forwards="windows + 1",
    cite="zeiler2014",
    differs="the mean over all windows that cover a pixel; the original gives the value to the window's middle",
    limits=("0 < window <= size", "0 < stride <= size"),
)


def attribute(
    inputs: ImageInputs, *, window: float = 0.125, stride: float = 0.0625, fill: Literal["black", "mean"] = "black"
) -> Tensor:  # (n, h, w)
    height, width = inputs.images.shape[2:]
    side = _pixels(window, min(height, width))
    corners = window_corners(height, width, window, stride)
    cover, rows = baseline_images(inputs, fill), torch.arange(len(inputs.images), device=inputs.images.device)
    copies = rows.repeat_interleave(len(corners))

    def covered(some: slice) -> Tensor:  # (m, c, h, w)
        images = inputs.images[copies[some]]
        for image, number in zip(images, range(some.start, some.stop), strict=True):
            row, (top, left) = number // len(corners), corners[number % len(corners)]
            image[:, top : top + side, left : left + side] = cover[row, :, top : top + side, left : left + side]
        return images

    whole = inputs.scores(lambda some: inputs.images[some], rows)
    drops = whole[:, None] - inputs.scores(covered, copies).reshape(len(rows), len(corners))
    total, times = drops.new_zeros(len(rows), height, width), drops.new_zeros(height, width)
    for drop, (top, left) in zip(drops.T, corners, strict=True):
        total[:, top : top + side, left : left + side] += drop[:, None, None]
        times[top : top + side, left : left + side] += 1
    return total / times


def window_corners(height: int, width: int, window: float, stride: float) -> list[tuple[int, int]]:
    """Return the upper left corners of all windows."""
    side, step = (_pixels(length, min(height, width)) for length in (window, stride))
    step = min(step, side)  # so that no pixel is between two windows
    downs, acrosses = ([*range(0, length - side, step), length - side] for length in (height, width))
    return [(down, across) for down in downs for across in acrosses]


def _pixels(length: float, side: int) -> int:
    return min(side, max(1, round(length if length >= 1 else length * side)))
