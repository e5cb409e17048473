"""The CAM family by its closed forms, at a layer that only average pooling and one linear layer follow; and who is refused there.

Several methods are one there, so these forms say what each must be and cannot tell them apart: see `test_cams.py`.
"""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from typed import typed_methods

from gradfaith.attribution import shared_passes
from gradfaith.attribution.bound_method import MethodCall, bind_methods
from gradfaith.errors import MethodUndefined
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.runtime.device import AdaptiveBatch

POSITIONS, CLASSES = 9, torch.tensor([2, 0])


@pytest.fixture(scope="module", params=["resnet10t", "test_efficientnet", "densenet121"])
def classifier(request: pytest.FixtureRequest) -> Classifier:
    """Activations after ReLU, after SiLU (negative too), and after a norm's own ReLU."""
    return build_classifier(ClassifierSpec(request.param, 3, 1, 3, 96, 0.5, 0.25), seed=3).eval().double()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def ours(classifier: Classifier, images: Tensor, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """The map, the activation and the linear layer's weights of each image's class."""
    how = {"group": "methods", "use": name, "layer": "auto", "options": {}, "score": "logit", "shuffled": False}
    (use,) = bind_methods(classifier, typed_methods({name: how}))
    with shared_passes.open_shared_passes(
        classifier, images, use.layers, chunk=AdaptiveBatch(64, torch.device("cpu")), curved="curvature" in use.needs
    ) as shared:
        inputs = shared.for_target(CLASSES, torch.arange(2), "logit")
        found = use.attribute(MethodCall(inputs, [], (3, 3), None))
        activation = inputs.tap(use.layer).activation
    weights = classifier.net.get_classifier().weight.detach()[CLASSES]  # type: ignore[operator, union-attr]
    assert isinstance(found, Tensor)
    return found, activation, weights


def test_cam_is_the_linear_layer_at_every_position_and_averages_to_the_logit(
    classifier: Classifier, images: Tensor
) -> None:
    found, activation, weights = ours(classifier, images, "cam")
    assert_close(found, torch.einsum("nk,nkhw->nhw", weights, activation))
    with torch.no_grad():
        logits = classifier(images).gather(1, CLASSES[:, None])[:, 0]
    bias = classifier.net.get_classifier().bias.detach()[CLASSES]  # type: ignore[operator, union-attr]
    assert_close(found.mean(dim=(1, 2)) + bias, logits)


@pytest.mark.parametrize("name", ["gradcam", "hirescam", "shapleycam", "ablationcam"])
def test_these_are_cam_up_to_a_factor(classifier: Classifier, images: Tensor, name: str) -> None:
    """w / Z times a; a channel's removal costs w mean(a), and the Hessian is zero."""
    found, activation, weights = ours(classifier, images, name)
    if name == "ablationcam":
        weights = weights * activation.mean(dim=(2, 3)) * POSITIONS
    assert_close(found, torch.einsum("nk,nkhw->nhw", weights, activation).relu() / POSITIONS)


def test_layercam_keeps_only_the_channels_that_speak_for_the_class(classifier: Classifier, images: Tensor) -> None:
    found, activation, weights = ours(classifier, images, "layercam")
    assert_close(found, torch.einsum("nk,nkhw->nhw", weights.relu(), activation).relu() / POSITIONS)


def test_gradcam_pp_has_one_denominator_per_channel(classifier: Classifier, images: Tensor) -> None:
    found, activation, weights = ours(classifier, images, "gradcam_pp")
    gradient = weights / POSITIONS
    below = 2 + gradient * activation.sum(dim=(2, 3))
    channel = torch.where(below > 0, POSITIONS * gradient.relu() / below, 0.0)
    assert_close(found, torch.einsum("nk,nkhw->nhw", channel, activation).relu())


@pytest.mark.parametrize("name", ["convnext_atto", "vgg11", "vit_tiny_patch16_224"])
def test_cam_is_refused_where_more_follows_than_one_linear_layer(name: str) -> None:
    options = {"vgg11": {"mlp_ratio": 0.01}, "vit_tiny_patch16_224": {"depth": 2}}.get(name, {})
    classifier = build_classifier(ClassifierSpec(name, 3, 1, 3, 96, 0.5, 0.25, options), seed=1).eval()
    how = {"group": "methods", "use": "cam", "layer": "auto", "options": {}, "score": "logit", "shuffled": False}
    with pytest.raises(MethodUndefined, match=r'"heat" is not defined for .* one linear layer') as refusal:
        bind_methods(classifier, typed_methods({"heat": how}))
    assert refusal.value.fix.startswith("Remove heat from the study, or list the other architectures under its `only:`")
