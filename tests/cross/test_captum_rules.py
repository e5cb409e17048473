"""captum beside our DeepLIFT and relevance: where it agrees, to 1e-5, and where it cannot be the judge."""

import pytest
import torch
from asked import TARGET, compute_maps, draw_weights, noise, relu_network
from captum.attr import LRP, DeepLift
from captum.attr._utils.lrp_rules import EpsilonRule, GammaRule
from torch import Tensor, nn
from torch.testing import assert_close

from gradfaith.attribution.methods import deeplift, lrp

IMAGES = noise(3, 1, 16, 16)
pytestmark = pytest.mark.filterwarnings("ignore:Setting forward", "ignore:Input Tensor 0")


def theirs(net: nn.Module, rows: slice = slice(None)) -> Tensor:
    found: Tensor = DeepLift(net).attribute(IMAGES[rows], torch.zeros_like(IMAGES[rows]), TARGET[rows])
    return found.detach().sum(dim=1)


class Apart(nn.Module):
    """Computes nothing, and returns another tensor than it was given."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 1


def pooled(between: type[nn.Module]) -> nn.Module:
    return relu_network(
        between(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), between(), nn.MaxPool2d(2)
    )


def test_deeplift_agrees_where_nothing_is_pooled_by_its_maximum() -> None:
    net = relu_network(nn.AvgPool2d(2), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
    assert_close(compute_maps(deeplift, net, IMAGES, TARGET, how={}).maps, theirs(net), rtol=1e-5, atol=1e-9)


def test_deeplift_agrees_where_no_pool_reads_a_relu() -> None:
    net = pooled(Apart)
    assert_close(compute_maps(deeplift, net, IMAGES, TARGET, how={}).maps, theirs(net), rtol=1e-5, atol=1e-9)


def test_captum_forgets_its_rule_for_a_pool_that_reads_a_relu_and_we_do_not() -> None:
    """Both hang a hook on the same tensor, and the ReLU's, which was there first, reads the gradient before the pool's rule."""
    net = pooled(nn.Identity)
    whole = (net(IMAGES) - net(torch.zeros_like(IMAGES))).gather(1, TARGET[:, None])[:, 0].detach()
    missing = (theirs(net).sum(dim=(1, 2)) - whole).abs() / whole.abs()
    found = compute_maps(deeplift, net, IMAGES, TARGET, how={})
    assert missing.max() > 1e-3
    assert (found.diagnostics["delta"] < 1e-10).all()
    assert_close(found.maps, compute_maps(deeplift, pooled(Apart), IMAGES, TARGET, how={}).maps)


def test_captum_loses_what_a_pixel_gives_to_the_other_of_two_overlapping_windows_and_we_do_not() -> None:
    """The minimal case of methods/deeplift.py, where each module reads a tensor of its own."""
    net = relu_network(Apart(), nn.MaxPool2d(3, 2, 1))
    whole = (net(IMAGES) - net(torch.zeros_like(IMAGES))).gather(1, TARGET[:, None])[:, 0].detach()
    missing = (theirs(net).sum(dim=(1, 2)) - whole).abs() / whole.abs()
    found = compute_maps(deeplift, net, IMAGES, TARGET, how={})
    assert missing.max() > 0.02
    assert (found.diagnostics["delta"] < 1e-10).all()


def relevance(net: nn.Sequential, gamma: float) -> Tensor:
    """captum's, with rules set by hand for what it has none for; they go with the network, which is thrown away."""
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            layer.rule = GammaRule(gamma)
        elif isinstance(layer, nn.Flatten | nn.Identity):
            layer.rule = EpsilonRule()
    found: Tensor = LRP(net).attribute(IMAGES, TARGET)
    return found.detach().sum(dim=1)


def chain() -> nn.Sequential:
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Identity(), nn.Conv2d(6, 6, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3),
    )  # fmt: skip
    draw_weights(net)
    return net


@pytest.mark.parametrize("gamma", [0.0, 0.25])
def test_relevance_agrees_on_a_chain_without_norms(gamma: float) -> None:
    """captum's gamma is not meant for a batch norm by itself: ours folds it, so there is nothing to compare."""
    found = compute_maps(lrp, chain(), IMAGES, TARGET, how={"gamma": gamma, "epsilon": 0.0}).maps
    peer = relevance(chain(), gamma)
    assert (found - peer).abs().max() <= 1e-5 * peer.abs().max()


def test_captum_knows_no_flatten_and_leaves_its_activations_behind() -> None:
    with pytest.raises(TypeError, match="Identity"):
        LRP(chain()).attribute(IMAGES, TARGET)
    net = chain()
    relevance(net, 0.0)
    assert all("activations" in vars(layer) for layer in net if isinstance(layer, nn.Conv2d))
