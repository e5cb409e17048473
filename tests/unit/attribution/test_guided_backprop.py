"""Guided backpropagation against the same written out by hand, layer by layer; and with Grad-CAM."""

import torch
from asked import TARGET, compute_maps, noise, relu_network
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.testing import assert_close

from gradfaith.attribution import shared_passes
from gradfaith.attribution.methods import gradcam, guided_backprop, guided_gradcam
from gradfaith.attribution.methods.deeplift import replace_forwards
from gradfaith.models.classifier import ClassifierSpec, build_classifier
from gradfaith.runtime.device import AdaptiveBatch

IMAGES = noise(3, 1, 16, 16)


def by_hand(net: nn.Sequential, images: Tensor) -> Tensor:
    """One layer's own gradient after the other; at a ReLU only what is positive both ways."""
    entered = []
    for layer in net:
        entered.append(images.clone())
        images = layer(images.clone()).detach()
    gradient = torch.eye(3, dtype=torch.float64)[TARGET]
    for layer, values in reversed(list(zip(net, entered, strict=True))):
        if isinstance(layer, nn.ReLU):
            gradient = torch.where((values > 0) & (gradient > 0), gradient, 0.0)
        else:
            leaf = values.requires_grad_()
            (gradient,) = torch.autograd.grad(layer(leaf), leaf, gradient)
    return gradient


def test_it_is_what_is_computed_by_hand() -> None:
    net = relu_network(nn.MaxPool2d(2))
    found = compute_maps(guided_backprop, net, IMAGES, TARGET, how={}).maps
    assert_close(found, by_hand(net, IMAGES).sum(dim=1), rtol=1e-10, atol=1e-12)
    leaf = IMAGES.clone().requires_grad_()
    (plain,) = torch.autograd.grad(net(leaf).gather(1, TARGET[:, None]).sum(), leaf)
    assert (found - plain[:, 0]).abs().max() > 0.1 * found.abs().max()


def test_swapped_layers_come_back_when_the_block_fails() -> None:
    net, own = nn.Sequential(nn.ReLU(), nn.ReLU()), torch.sigmoid
    net[1].forward = own
    try:
        with replace_forwards(net, {nn.ReLU: lambda _relu: torch.square}):
            assert net(torch.tensor(-3.0)) == 81
            raise KeyError
    except KeyError:
        pass
    assert "forward" not in vars(net[0])
    assert net[1].forward is own


def test_guided_gradcam_is_both_multiplied_and_reaches_the_relus_inside_timm_s_norms() -> None:
    classifier = build_classifier(
        ClassifierSpec("densenet121", 3, 1, 3, 64, 0.5, 0.25, {"growth_rate": 4, "block_config": [1, 1]}), seed=0
    )
    classifier, images = classifier.double().eval(), noise(3, 1, 64, 64)
    with shared_passes.open_shared_passes(
        classifier, images, ["features.norm5"], chunk=AdaptiveBatch(8, images.device)
    ) as shared:
        inputs = shared.for_target(TARGET, torch.arange(3), "logit")
        tap, asked = inputs.tap("features.norm5"), inputs.image([])
        guided, coarse = guided_backprop.attribute(asked), gradcam.attribute(tap)
        found = guided_gradcam.attribute(tap, asked)
        plain = asked.image_gradient().sum(dim=1)
    assert_close(found, guided * interpolate(coarse[:, None], (64, 64), mode="bilinear")[:, 0])
    assert found.any()
    assert (guided - plain).abs().max() > 0.1 * guided.abs().max()
