"""Guided Grad-CAM: the detail of guided backpropagation, where Grad-CAM looks.

    map = guided backpropagation * enlarge( Grad-CAM )                                      [selvaraju2017]

Enlarged bilinearly, as all maps are here; captum's default takes the nearest cell, which draws the grid into the map.
Signed, by the first factor. The class enters through the second alone, more or less. Refused where guided backpropagation
is. Cost: what both cost.
"""

from torch import Tensor

from gradfaith.attribution.contract import ImageInputs, Method, Tap
from gradfaith.attribution.methods import gradcam, guided_backprop
from gradfaith.metrics.maps.evaluate import resize

METHOD = Method(
    needs=("layer", "image"),
    grid="input",
    signed=True,
    requires=("relu",),
    forwards=1,
    backwards=2,
    cite="selvaraju2017",
)


def attribute(tap: Tap, inputs: ImageInputs) -> Tensor:  # (n, h, w)
    height, width = inputs.images.shape[2:]
    where: Tensor = resize(gradcam.attribute(tap), (height, width))
    return guided_backprop.attribute(inputs) * where
