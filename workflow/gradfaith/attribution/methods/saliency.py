"""Saliency: the absolute gradient of the score at each pixel.

    map = max_k |g_k|                       g: the gradient of the score with respect to the image    [simonyan2014]

The gradient is taken for the image in [0, 1], so it is per grey value, not per unit of the network's normalisation.
Computed by captum's Saliency. Cost: the forward and the backward of the image, which `input_x_gradient` shares.
"""

from torch import Tensor

from gradfaith.attribution.contract import ImageInputs, Method
from gradfaith.attribution.support.captum_adapter import on_image_gradient

METHOD = Method(needs=("image",), grid="input", signed=False, forwards=1, backwards=1, cite="simonyan2014")


def attribute(inputs: ImageInputs) -> Tensor:  # (n, h, w)
    return on_image_gradient("Saliency", inputs).amax(dim=1)
