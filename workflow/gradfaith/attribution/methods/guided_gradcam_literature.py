"""Guided Grad-CAM as the literature applies it: captum's, on any network.

    map = guided backpropagation * enlarge( Grad-CAM )                                      [domeniconi2026]

Published comparisons list Guided Grad-CAM for Swin and ConvNeXt. captum changes the backward pass of ReLU modules only, so on
networks with GELU or SiLU its guided backpropagation is the plain gradient, and this map is the gradient times Grad-CAM. That
is why `guided_gradcam` refuses such networks, and why this variant exists under a name of its own: to compare with published
numbers. `enlarge`: captum's default takes the nearest cell. `axes: captum` reads a layer's output as (n, c, h, w) whatever it
is. On the channels-last grids of Swin the height then stands for the channels, and "Grad-CAM" is an image of width and channels:
the map is no Grad-CAM, but what the published code multiplies. `axes: grid` reads the layer's own grid. For tokens, of which
captum makes no map, both do. Signed; channels are summed. Cost: as `guided_gradcam`.
"""

from dataclasses import replace
from typing import Literal

from torch import Tensor

from gradfaith.attribution.contract import ImageInputs, Method, Tap
from gradfaith.attribution.methods import gradcam
from gradfaith.attribution.support.captum_adapter import guided_gradcam

METHOD = Method(
    needs=("layer", "image"), grid="input", signed=True, forwards=1, backwards=2, cite="domeniconi2026"
)  # fmt: skip


def attribute(
    tap: Tap,
    inputs: ImageInputs,
    *,
    enlarge: Literal["nearest", "bilinear"] = "nearest",
    axes: Literal["captum", "grid"] = "captum",
) -> Tensor:  # (n, h, w)
    if tap.channels_last and axes == "captum":
        activation, gradient = (part.permute(0, 2, 3, 1) for part in (tap.activation, tap.gradient))  # (n, h, w, c)
        tap = replace(tap, activation=activation, gradient=gradient)
    return guided_gradcam(inputs, gradcam.attribute(tap), enlarge)
