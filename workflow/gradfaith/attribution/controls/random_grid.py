"""Random on the layer's grid: noise as coarse and as smooth as a CAM.

    map = U(0, 1) per cell of the layer's grid

If a CAM scores better than this control, its positions are the reason, not its resolution. Cost: none.
"""

import torch
from torch import Tensor

from gradfaith.attribution.contract import ControlInputs, Method

METHOD = Method(needs=("nothing",), grid="native", signed=False, seeded=True)


def attribute(inputs: ControlInputs) -> Tensor:  # (n, h, w)
    return torch.stack([torch.rand(inputs.grid, generator=g, device=g.device) for g in inputs.generators]).to(
        inputs.images.device
    )
