"""Centre: a Gaussian blob in the middle, the same for every image.

    map = exp( -(u^2 + v^2) / (2 width^2) )         u, v in [-1/2, 1/2]: a cell's distance from the middle

Photographers, radiographers and cropping place the relevant object in the middle, so a method must point better than this
control. It uses the layer's grid, so it is as coarse as a CAM. Cost: none.
"""

import torch
from torch import Tensor

from gradfaith.attribution.contract import ControlInputs, Method

METHOD = Method(needs=("nothing",), grid="native", signed=False, limits=("width > 0",))


def attribute(inputs: ControlInputs, *, width: float = 0.25) -> Tensor:  # (n, h, w)
    v, u = (((torch.arange(side) + 0.5) / side - 0.5) for side in inputs.grid)
    blob = torch.exp(-(v[:, None] ** 2 + u**2) / (2 * width**2))  # (h, w)
    return blob.to(inputs.images.device).repeat(len(inputs.images), 1, 1)
