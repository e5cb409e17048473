"""Guided Grad-CAM as the literature applies it: captum's, on any network.

    map = guided backpropagation * enlarge( Grad-CAM )                                      [domeniconi2026]

Published comparisons list Guided Grad-CAM for Swin and ConvNeXt. captum changes the backward pass of ReLU modules only, so on
networks with GELU or SiLU its guided backpropagation is the plain gradient, and this map is the gradient times Grad-CAM. That
is why `guided_gradcam` refuses such networks, and why this variant exists under a name of its own: to compare with published
numbers. captum's default enlarges Grad-CAM to the nearest cell. Grad-CAM is read on the layer's own grid; captum itself would
take the height of a channels-last grid (Swin) for its channels. Signed; channels are summed. Cost: as `guided_gradcam`.
"""

from typing import Literal

from torch import Tensor

from gradfaith.attribution.contract import ImageInputs, Method, Tap
from gradfaith.attribution.methods import gradcam
from gradfaith.attribution.support.captum_adapter import guided_gradcam

METHOD = Method(
    needs=("layer", "image"),
    grid="input",
    signed=True,
    forwards=1,
    backwards=2,
    cite="domeniconi2026",
    differs="Grad-CAM has the axes of the layer's grid, also where it is channels-last or tokens",
)


def attribute(
    tap: Tap, inputs: ImageInputs, *, enlarge: Literal["nearest", "bilinear"] = "nearest"
) -> Tensor:  # (n, h, w)
    return guided_gradcam(inputs, gradcam.attribute(tap), enlarge)
