"""Grad-CAM by its closed forms, at a layer that only pooling and one linear layer follow."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gradfaith.attribution.contract import Tap
from gradfaith.attribution.methods.gradcam import attribute
from gradfaith.attribution.taps import tap_layers
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier


@pytest.fixture(scope="module")
def last() -> tuple[Classifier, Tap, Tensor]:
    """A ResNet's last layer (positions: 9), two images, classes 2 and 0."""
    classifier = build_classifier(ClassifierSpec("resnet10t", 3, 1, 3, 96, 0.5, 0.25), seed=3)
    images = torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([2, 0])
    with tap_layers(classifier, "layer4") as tap:
        tap.forward(images)
        return classifier, tap.single_tap(classes), classes


def test_by_hand() -> None:
    """Two channels with mean gradients 1 and -1/2: map = relu(a_0 - a_1 / 2)."""
    activation = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[4.0, 4.0], [4.0, 10.0]]]])
    gradient = torch.tensor([[[[0.0, 2.0], [2.0, 0.0]], [[-2.0, 0.0], [0.0, 0.0]]]])
    assert_close(attribute(Tap(activation, gradient, torch.zeros(1))), torch.tensor([[[0.0, 0.0], [1.0, 0.0]]]))


def test_it_is_cam_over_the_number_of_positions(last: tuple[Classifier, Tap, Tensor]) -> None:
    classifier, tap, classes = last
    weights = classifier.net.fc.weight.detach()[classes]  # type: ignore[union-attr, index, operator] # (n, c)
    cam = torch.einsum("nk,nkhw->nhw", weights, tap.activation).relu()
    assert cam.amax() > 0
    assert_close(attribute(tap), cam / 9)


def test_signed_and_summed_it_is_the_logit_without_its_bias(last: tuple[Classifier, Tap, Tensor]) -> None:
    classifier, tap, classes = last
    signed = (tap.gradient.mean(dim=(2, 3), keepdim=True) * tap.activation).sum(dim=(1, 2, 3))
    bias = classifier.net.fc.bias.detach()[classes]  # type: ignore[union-attr, index, operator]
    assert_close(signed + bias, tap.score)
    positive = attribute(Tap(tap.activation, -tap.gradient, tap.score))
    assert_close(attribute(tap).sum(dim=(1, 2)) - positive.sum(dim=(1, 2)) + bias, tap.score)


def test_a_map_scales_with_its_score(last: tuple[Classifier, Tap, Tensor]) -> None:
    """Nothing is normalised away: a stored map is raw."""
    _, tap, _ = last
    assert_close(attribute(Tap(tap.activation, 7 * tap.gradient, tap.score)), 7 * attribute(tap))


def test_a_dead_gradient_gives_zeros_not_nan(last: tuple[Classifier, Tap, Tensor]) -> None:
    _, tap, _ = last
    assert not attribute(Tap(tap.activation, torch.zeros_like(tap.gradient), tap.score)).any()
