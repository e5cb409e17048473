"""Uniform: every pixel has the same relevance; the papers' All1s.

    map = 1, but 0 at the first pixel, so that the map is not constant

It has the best score of every metric that only measures the loss when the map's region is kept. Cost: none.
"""

from torch import Tensor

from gradfaith.attribution.contract import ControlInputs, Method

METHOD = Method(needs=("nothing",), grid="input", signed=False, cite="domeniconi2026")


def attribute(inputs: ControlInputs) -> Tensor:  # (n, h, w)
    maps = inputs.images.new_ones(len(inputs.images), *inputs.images.shape[-2:])
    maps[:, 0, 0] = 0
    return maps
