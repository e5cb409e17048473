"""Grad-CAM beside captum's (native maps, an independent route) and grad-cam's (after its own normalisation).

Two of captum's habits make it no judge of a transformer: it has no adapter for tokens, and averages over channels. The
spread of maps is that of a network whose weights are random: the class is chosen so that each map has something in it.
"""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gradfaith.attribution.methods.gradcam import attribute
from gradfaith.attribution.taps import tap_layers
from gradfaith.models import layers
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier

CONVOLUTIONAL = ["resnet50", "densenet161", "efficientnet_b0"]
CLASSES = 4
IMAGES = torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(1))


@cache
def model(name: str) -> Classifier:
    return build_classifier(ClassifierSpec(name, CLASSES, 1, 3, 224, 0.5, 0.25), seed=1).eval()


@cache
def ours(name: str) -> tuple[int, Tensor]:
    """The first class with a map that says something, and that map."""
    classifier = model(name)
    with tap_layers(classifier, layers.default_layer(classifier.net)) as tap:
        tap.forward(IMAGES)
        for number in range(CLASSES):
            map_ = attribute(tap.single_tap(torch.tensor([number])))
            if (map_ > 0).float().mean() >= 0.25 and map_.amax() - map_.amin() > 1e-3 * map_.amax():
                return number, map_
    raise AssertionError("every class has an empty map: choose another seed")


def module(name: str) -> nn.Module:
    return model(name).net.get_submodule(layers.default_layer(model(name).net))


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_captum_agrees_on_the_native_map(name: str) -> None:
    from captum.attr import LayerGradCam

    target, map_ = ours(name)
    theirs = LayerGradCam(model(name), module(name)).attribute(IMAGES, target, relu_attributions=True)[:, 0].detach()
    assert (theirs - map_).abs().max() <= 5e-6 * min(1.0, float(map_.amax())), "absolutely and relatively"


def on_grid(tokens: Tensor) -> Tensor:  # (n, 1 + h w, c) -> (n, c, h, w)
    return tokens[:, 1:].reshape(len(tokens), 14, 14, -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("name", "reshape"), [*((name, None) for name in CONVOLUTIONAL), ("vit_base_patch16_224", on_grid)]
)
def test_grad_cam_agrees_after_its_normalisation(name: str, reshape: Callable[[Tensor], Tensor] | None) -> None:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    target, map_ = ours(name)
    with GradCAM(model(name), [module(name)], reshape_transform=reshape) as peer:
        theirs = peer(IMAGES, [ClassifierOutputTarget(target)])
    model(name).zero_grad()
    enlarged = scaled(interpolate(scaled(map_)[:, None], (224, 224), mode="bilinear")[:, 0])
    assert (torch.from_numpy(theirs) - enlarged).abs().max() <= 1e-5


def scaled(maps: Tensor) -> Tensor:
    """Min-max to [0, 1], which the peer does before and after enlarging."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / (high - low)
