"""Random: independent uniform noise for every pixel.

    map = U(0, 1) per pixel, at the image's size

Pixel noise is finer than a coarse map, so it is not a fair comparison for one: read it beside `random-grid`. Cost: none.
"""

import torch
from torch import Tensor

from gradfaith.attribution.contract import ControlInputs, Method

METHOD = Method(needs=("nothing",), grid="input", signed=False, seeded=True)


def attribute(inputs: ControlInputs) -> Tensor:  # (n, h, w)
    size = inputs.images.shape[-2:]
    return torch.stack([torch.rand(size, generator=g, device=g.device) for g in inputs.generators]).to(
        inputs.images.device
    )
