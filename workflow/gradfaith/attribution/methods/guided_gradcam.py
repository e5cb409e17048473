"""Guided Grad-CAM: guided backpropagation, weighted by Grad-CAM.

    map = guided backpropagation * enlarge( Grad-CAM )                                      [selvaraju2017]

Grad-CAM is enlarged bilinearly, as all maps here; captum's default takes the nearest cell, which leaves the grid visible.
Signed, by the first factor. The class enters almost only through the second factor. It is refused where guided
backpropagation is. Cost: the cost of both.
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
