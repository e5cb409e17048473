"""Relevance: a slow twin of loops, gradient times input in the limit, and conservation."""

import pytest
import torch
from asked import TARGET, compute_maps, draw_weights, noise, open_image_inputs, relu_network
from torch import Tensor, nn
from torch.testing import assert_close
from typed import typed_methods

from gradfaith.attribution import bound_method
from gradfaith.attribution.methods import lrp
from gradfaith.models.classifier import ClassifierSpec, build_classifier

IMAGES = noise(3, 1, 8, 8)


def without_biases(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            module.bias.data.zero_()
    return net


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Dropout()])
def test_without_gamma_it_is_the_normalised_image_times_the_gradient(pool: nn.Module) -> None:
    net = relu_network(pool)
    with open_image_inputs(net, IMAGES, TARGET, mean=0.5, std=0.25) as given:
        expected = ((given.images - 0.5) * given.image_gradient()).sum(dim=1)
        assert_close(lrp.attribute(given, gamma=0.0, epsilon=0.0).maps, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.25, 10.0])
def test_nothing_is_kept_by_a_network_without_biases(gamma: float) -> None:
    net = without_biases(
        draw_weights(
            nn.Sequential(
                nn.Conv2d(1, 5, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(5, 5, 2), nn.ReLU(), nn.Identity(),
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3),
            )
        )
    )  # fmt: skip
    found = compute_maps(lrp, net, IMAGES, TARGET, how={"gamma": gamma, "epsilon": 0.0}, mean=0.5)
    whole = net(IMAGES - 0.5).gather(1, TARGET[:, None])[:, 0].detach()
    assert_close(found.maps.sum(dim=(1, 2)), whole)
    assert_close(found.diagnostics["kept"], torch.ones(3).double())


def test_it_is_the_rule_written_out() -> None:
    """Loops over every weight of two convolutions, the first behind a batch norm that turns some channels around."""
    first, norm, last = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 2)
    net = draw_weights(
        nn.Sequential(first, norm, nn.ReLU(), last, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), seed=5
    )
    norm.weight.data[1] *= -1
    image, gamma = IMAGES[:1, :, :5, :5], 0.5
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight, bias = first.weight * gain[:, None, None, None], (first.bias - norm.running_mean) * gain + norm.bias
    hidden = net[2](net[1](net[0](image)))[0].detach()
    out = net[4](net[3](hidden[None]))[0].detach()
    relevance = torch.zeros_like(out)
    target = out.sum(dim=(1, 2)).argmax()
    relevance[target] = out[target] / 4  # a mean over 2 x 2, in proportion
    middle = slow(hidden, last.weight.detach(), last.bias.detach(), relevance, gamma)
    expected = slow(image[0], weight.detach(), bias.detach(), middle, gamma)
    found = compute_maps(lrp, net, image, target[None], how={"gamma": gamma, "epsilon": 0.0}).maps
    assert_close(found[0], expected.sum(dim=0))
    assert expected.any()


def slow(entered: Tensor, weight: Tensor, bias: Tensor, relevance: Tensor, gamma: float) -> Tensor:
    handed = torch.zeros_like(entered)
    size = weight.shape[2]
    for k, y, x in torch.cartesian_prod(*(torch.arange(side) for side in relevance.shape)).tolist():
        parts = entered[:, y : y + size, x : x + size] * weight[k]
        if relevance[k, y, x] != 0:
            enlarged = parts + gamma * parts.clamp(min=0)
            handed[:, y : y + size, x : x + size] += enlarged / (enlarged.sum() + bias[k]) * relevance[k, y, x]
    return handed


def test_a_norm_that_holds_its_activation_counts_as_both() -> None:
    """timm's MobileNet beside the same layers one after the other."""
    classifier = (
        build_classifier(ClassifierSpec("mobilenetv1_100", 3, 1, 1, 32, 0.5, 0.25, {"act_layer": "relu"}), seed=0)
        .eval()
        .double()
    )
    apart = nn.Sequential(*_apart(classifier.net)).eval()
    images = noise(2, 1, 32, 32)
    assert_close(apart(images), classifier.net(images))
    expected, found = (compute_maps(lrp, net, images, TARGET[:2], how={}).maps for net in (apart, classifier.net))
    assert_close(found, expected)
    assert found.any()


def _apart(net: nn.Module) -> list[nn.Module]:
    parts: list[nn.Module] = []
    for child in net.children():
        if isinstance(child, nn.BatchNorm2d):
            plain = nn.BatchNorm2d(child.num_features, child.eps).to(child.weight)
            plain.load_state_dict(child.state_dict())
            parts += [plain, *_apart(child)]
        else:
            parts += _apart(child) if any(child.children()) else [child]
    return parts


def test_a_vgg_is_a_chain() -> None:
    """A real one, narrowed, at the size where its head needs no stretching."""
    classifier = build_classifier(
        ClassifierSpec("vgg11_bn", 3, 1, 3, 224, 0.5, 0.25, {"mlp_ratio": 0.01}), seed=0
    ).eval()
    how = {"group": "methods", "use": "lrp", "layer": "auto", "options": {}, "score": "logit", "shuffled": False}
    assert bound_method.bind_methods(classifier, typed_methods({"lrp": how}))[0].name == "lrp"
