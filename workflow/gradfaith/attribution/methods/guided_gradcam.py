"""Guided Grad-CAM: guided backpropagation, weighted by Grad-CAM.

    map = guided backpropagation * enlarge( Grad-CAM )                                      [selvaraju2017]

Grad-CAM is enlarged bilinearly, as all maps here; captum's default takes the nearest cell, which leaves the grid visible.
Signed, by the first factor. The class enters almost only through the second factor. It is refused where guided
backpropagation is. Computed by captum's GuidedGradCam, which receives the Grad-CAM of the bundle's shared pass.
Cost: the cost of both.
"""

from torch import Tensor

from gradfaith.attribution.contract import ImageInputs, Method, Tap
from gradfaith.attribution.methods import gradcam
from gradfaith.attribution.support.captum_adapter import guided_gradcam

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
    return guided_gradcam(inputs, gradcam.attribute(tap))
