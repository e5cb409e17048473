"""Occlusion: the drop of the score when a window of the image is covered.

    map(p) = mean over the windows W that cover p of  S(x) - S(x with W covered)                [zeiler2014]

Windows are square and `stride` apart. The last window of a row ends at the border, so every pixel is covered at least once.
`window` and `stride` are shares of the shorter side, or pixels from 1 on. Signed: covering evidence against the class raises
the score. The fill of a window is an assumption about what "no evidence" looks like; black is air on CT.
The window size is the finest detail that the map can show. Computed by captum's Occlusion, in single precision; it would cut
the last window of a row off at the border, so it receives our windows. Cost: a forward for each window, and one.
"""

from typing import Literal

from torch import Tensor

from gradfaith.attribution.contract import ImageInputs, Method
from gradfaith.attribution.support.captum_adapter import baseline_images, on_scores, rows_of

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
    count, channels, height, width = inputs.images.shape
    side, step = (_pixels(length, min(height, width)) for length in (window, stride))
    corners = window_corners(height, width, window, stride)

    def window_mask(_images: Tensor, number: int, *_: object, **_words: object) -> Tensor:  # (1, 1, h, w)
        top, left = corners[number]
        mask = inputs.images.new_zeros(1, 1, height, width)
        mask[..., top : top + side, left : left + side] = 1
        return mask

    method = on_scores("Occlusion", inputs)
    method._occlusion_mask = window_mask
    found: Tensor = method.attribute(
        inputs.images, (channels, side, side), (channels, min(step, side), min(step, side)),
        baselines=baseline_images(inputs, fill), perturbations_per_eval=max(1, inputs.rows_at_once // count),
        **rows_of(inputs),
    )  # fmt: skip
    return found[:, 0].to(inputs.images.dtype)  # the same for all channels, which a window covers together


def window_corners(height: int, width: int, window: float, stride: float) -> list[tuple[int, int]]:
    """Return the upper left corners of all windows."""
    side, step = (_pixels(length, min(height, width)) for length in (window, stride))
    step = min(step, side)  # so that no pixel is between two windows
    downs, acrosses = ([*range(0, length - side, step), length - side] for length in (height, width))
    return [(down, across) for down in downs for across in acrosses]


def _pixels(length: float, side: int) -> int:
    return min(side, max(1, round(length if length >= 1 else length * side)))
