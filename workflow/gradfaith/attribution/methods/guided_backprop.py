"""Guided backpropagation: the gradient, set to zero at every ReLU where it is negative.

    map = sum_k g_k,    with g <- 1[z > 0] * relu(g) instead of 1[z > 0] * g at every ReLU          [springenberg2015]

It shows fine detail, but hardly depends on the class or on the upper layers [adebayo2018]. It is included so that it can be
compared with its controls. On networks with other nonlinearities than ReLU modules it would equal the gradient, so it is
refused there. Signed; channels are summed. Computed by captum's GuidedBackprop. Cost: a forward and a backward.
"""

from torch import Tensor

from gradfaith.attribution.contract import ImageInputs, Method
from gradfaith.attribution.support.captum_adapter import on_network

METHOD = Method(
    needs=("image",), grid="input", signed=True, requires=("relu",), forwards=1, backwards=1, cite="springenberg2015"
)  # fmt: skip


def attribute(inputs: ImageInputs) -> Tensor:  # (n, h, w)
    with on_network("GuidedBackprop", inputs) as method:
        gradient: Tensor = method.attribute(inputs.images.detach().requires_grad_(), inputs.target)
    return gradient.sum(dim=1)
