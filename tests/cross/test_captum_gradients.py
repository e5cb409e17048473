"""captum beside our gradients: saliency, input x gradient, integrated gradients, guided backpropagation; relative 1e-5.

captum's channels are reduced as ours are. It is asked on a ResNet and a DenseNet of timm, in single precision, where
activations work in place and norms carry their own ReLU.
"""

from functools import cache

import pytest
import torch
from asked import noise
from captum.attr import GuidedBackprop, GuidedGradCam, InputXGradient, IntegratedGradients, Saliency
from torch import Tensor

from gradfaith.attribution import shared_passes
from gradfaith.attribution.methods import (
    guided_backprop,
    guided_gradcam,
    input_x_gradient,
    integrated_gradients,
    saliency,
)
from gradfaith.models import layers
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.runtime.device import AdaptiveBatch

SMALL = {
    "resnet10t": {"channels": [8, 16, 16, 24], "stem_width": 8},
    "densenet121": {"growth_rate": 4, "block_config": [1, 2, 1]},
}
IMAGES, TARGET = noise(2, 3, 64, 64).float(), torch.tensor([2, 0])
pytestmark = pytest.mark.filterwarnings("ignore:Setting backward hooks", "ignore:Input Tensor 0")
every = pytest.mark.parametrize("name", SMALL)


@cache
def model(name: str) -> Classifier:
    return build_classifier(ClassifierSpec(name, 3, 3, 3, 64, 0.5, 0.25, SMALL[name]), seed=2).eval()


def ours(name: str, method: object, **how: object) -> Tensor:
    layer = layers.default_layer(model(name).net)
    tapped = [layer] if method is guided_gradcam else []
    with shared_passes.open_shared_passes(model(name), IMAGES, tapped, chunk=AdaptiveBatch(8, IMAGES.device)) as shared:
        inputs = shared.for_target(TARGET, torch.arange(2), "logit")
        given = [inputs.tap(layer)] if tapped else []
        found = method.attribute(*given, inputs.image([]), **how)  # type: ignore[attr-defined]
    return found if isinstance(found, Tensor) else found.maps


def same(one: Tensor, other: Tensor, close: float = 1e-5) -> None:
    assert one.abs().max() > 0
    assert (one - other).abs().max() <= close * other.abs().max()


@every
def test_saliency(name: str) -> None:
    same(ours(name, saliency), Saliency(model(name)).attribute(IMAGES, TARGET).amax(dim=1))


@every
def test_input_x_gradient(name: str) -> None:
    same(ours(name, input_x_gradient), InputXGradient(model(name)).attribute(IMAGES, TARGET).detach().sum(dim=1))


@every
@pytest.mark.parametrize(("rule", "theirs"), [("gauss", "gausslegendre"), ("midpoint", "riemann_middle")])
def test_integrated_gradients(name: str, rule: str, theirs: str) -> None:
    peer = IntegratedGradients(model(name)).attribute(IMAGES, 0.0, TARGET, n_steps=12, method=theirs)
    same(ours(name, integrated_gradients, steps=12, rule=rule), peer.detach().sum(dim=1))


@every
def test_guided_backprop(name: str) -> None:
    same(ours(name, guided_backprop), GuidedBackprop(model(name)).attribute(IMAGES, TARGET).sum(dim=1))


def test_guided_gradcam_where_captum_enlarges_bilinearly() -> None:
    net = model("resnet10t").net
    peer = GuidedGradCam(model("resnet10t"), net.get_submodule(layers.default_layer(net)))
    theirs = peer.attribute(IMAGES, TARGET, interpolate_mode="bilinear").detach().sum(dim=1)
    same(ours("resnet10t", guided_gradcam), theirs)
    nearest = peer.attribute(IMAGES, TARGET).detach().sum(dim=1)
    assert (nearest - theirs).abs().max() > 0.01 * theirs.abs().max(), "captum's default is another map"
