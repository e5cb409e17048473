"""Guided backpropagation: the gradient, set to zero at every ReLU where it is negative.

    map = sum_k g_k,    with g <- 1[z > 0] * relu(g) instead of 1[z > 0] * g at every ReLU          [springenberg2015]

It shows fine detail, but hardly depends on the class or on the upper layers [adebayo2018]. It is included so that it can be
compared with its controls. On networks with other nonlinearities than ReLU modules it would equal the gradient, so it is
refused there. Signed; channels are summed. Cost: a forward and a backward.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from gradfaith.attribution.contract import ImageInputs, Method
from gradfaith.attribution.support.pixel_methods import replace_forwards

METHOD = Method(
    needs=("image",), grid="input", signed=True, requires=("relu",), forwards=1, backwards=1, cite="springenberg2015"
)  # fmt: skip


def attribute(inputs: ImageInputs) -> Tensor:  # (n, h, w)
    with replace_forwards(inputs.network, {nn.ReLU: lambda _relu: _BothWays.apply}), torch.enable_grad():
        images = inputs.images.detach().requires_grad_()
        scores = inputs.network(images).gather(1, inputs.target[:, None])
        (gradient,) = torch.autograd.grad(scores.sum(), images)
    return gradient.sum(dim=1)


class _BothWays(Function):
    """A ReLU in the forward pass, and another one in the backward pass."""

    @staticmethod
    def forward(context: Any, entering: Tensor) -> Tensor:
        context.save_for_backward(entering > 0)
        return entering.relu()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        (passed,) = context.saved_tensors
        stopped: Tensor = gradients[0].relu() * passed
        return stopped
