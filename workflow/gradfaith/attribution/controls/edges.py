"""Edges: the Sobel magnitude of the image, independent of the model.

    map = sqrt( (S_x * x)^2 + (S_y * x)^2 )         of the mean over channels, borders replicated    [adebayo2018]

Many pixel maps look convincing because they redraw the image's edges. A map must show more than that. Cost: none.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from gradfaith.attribution.contract import ControlInputs, Method

METHOD = Method(needs=("nothing",), grid="input", signed=False, cite="adebayo2018")


def attribute(inputs: ControlInputs) -> Tensor:  # (n, h, w)
    grey = pad(inputs.images.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]).to(grey)
    slopes = conv2d(grey, torch.stack([across, across.T])[:, None])  # (n, 2, h, w)
    magnitude: Tensor = torch.linalg.vector_norm(slopes, dim=1)
    return magnitude
