"""Input x gradient: each pixel's contribution to the score of the network's linear approximation.

    map = sum_k x_k * g_k                                                                   [shrikumar2017]

Signed. Summed over channels first: contributions of opposite sign in different channels cancel. Black is the reference, so
a black pixel has relevance zero, whatever its gradient. Some code takes absolute values instead, per channel or of the sum. Computed by
captum's InputXGradient. Cost: the forward and the backward of the image, which `saliency` shares.
"""

from torch import Tensor

from gradfaith.attribution.contract import ImageInputs, Method
from gradfaith.attribution.support.captum_adapter import on_image_gradient

METHOD = Method(needs=("image",), grid="input", signed=True, forwards=1, backwards=1, cite="shrikumar2017")


def attribute(inputs: ImageInputs) -> Tensor:  # (n, h, w)
    return on_image_gradient("InputXGradient", inputs).sum(dim=1)
