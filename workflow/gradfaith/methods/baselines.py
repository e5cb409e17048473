"""Baselines: the picture that stands for "nothing here", where paths begin and what windows are filled with.

    black   0; on CT air, inside the body too
    mean    the grey that the network's normalisation takes away, which is 0 for its first layer
    blur    the image without its detail

They are the imputers of the same names, so what a method takes for nothing can be what a metric takes for nothing.
"""

from typing import Literal

from torch import Tensor

from gradfaith.imputers import black, blur, mean
from gradfaith.methods.contract import Asked
from gradfaith.metrics.contract import Context

FILLS = {"black": black.fill, "mean": mean.fill, "blur": blur.fill}


def baseline(asked: Asked, kind: Literal["black", "mean", "blur"]) -> Tensor:  # (n, c, h, w)
    return FILLS[kind](asked.images, Context(keep=None, mean=asked.mean))
