"""DeepLIFT: the difference handed back whole, the rules by hand, and no map where some is missing."""

import pytest
import torch
from asked import TARGET, compute_maps, linear_network, noise, relu_network
from torch import Tensor, nn
from torch.testing import assert_close

from gradfaith.attribution.methods import deeplift
from gradfaith.models.timm_import import timm

IMAGES = noise(3, 1, 16, 16)


@pytest.mark.parametrize("baseline", ["black", "mean", "blur"])
@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 1, ceil_mode=True)])
def test_nothing_of_the_difference_is_missing(pool: nn.Module, baseline: str) -> None:
    """Two pools in a row, whose windows overlap or not, after a ReLU that works in place."""
    net = relu_network(pool, nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    found = compute_maps(deeplift, net, IMAGES, TARGET, how={"baseline": baseline}, mean=0.4, std=0.3)
    assert (found.diagnostics["delta"] < 1e-10).all()
    assert found.maps.isfinite().all()


@pytest.mark.parametrize(("kind", "width"), [("avgmax", 6), ("catavgmax", 12), ("max", 6)])
def test_nothing_is_missing_behind_a_global_maximum(kind: str, width: int) -> None:
    net = relu_network(timm.layers.SelectAdaptivePool2d(pool_type=kind), nn.Conv2d(width, 6, 1))
    found = compute_maps(deeplift, net, IMAGES, TARGET, how={}, mean=0.4, std=0.3)
    assert (found.diagnostics["delta"] < 1e-10).all()


def test_a_relu_by_hand() -> None:
    """S = relu(2 a - 1) + relu(b - 3) at a = 1, b = 2 over 0: of a's 1 all is a's, of b's 0 nothing."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bend = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            z = torch.stack([2 * x[:, 0, 0, 0] - 1, x[:, 0, 0, 1] - 3], dim=1)
            return self.bend(z).sum(dim=1, keepdim=True).expand(-1, 3)

    image = torch.tensor([[[[1.0, 2.0]]]]).double()
    assert_close(compute_maps(deeplift, Two(), image, TARGET[:1], how={}).maps[0], torch.tensor([[1.0, 0.0]]).double())


def test_a_pool_by_hand() -> None:
    """max(1, 4) = 4 over max(0, 0): all is the winner's. max(3, 1) = 3 over a mean of 5: all is the loser of two equals'."""
    pool = nn.Sequential(nn.MaxPool2d((1, 2)), nn.Flatten(), nn.Linear(1, 3))
    with torch.no_grad():
        pool[2].weight.fill_(1)
    image = torch.tensor([[[[1.0, 4.0]]]]).double()
    assert_close(compute_maps(deeplift, pool, image, TARGET[:1], how={}).maps[0], torch.tensor([[0.0, 4.0]]).double())
    image = torch.tensor([[[[3.0, 1.0]]]]).double()
    found = compute_maps(deeplift, pool, image, TARGET[:1], how={"baseline": "mean"}, mean=5.0).maps[0]
    assert_close(found, torch.tensor([[-2.0, 0.0]]).double())


def test_an_image_whose_difference_is_not_covered_has_no_map() -> None:
    """A square root of the pixels is no module: its gradient is far from its share."""

    class Rooted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rest, _ = linear_network(16)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.rest((x + 1e-3).sqrt())
            return logits

    found = compute_maps(deeplift, Rooted(), IMAGES, TARGET, how={})
    assert (found.diagnostics["delta"] > 0.05).all()
    assert found.maps.isnan().all()


def test_an_image_that_is_its_own_baseline_has_no_map() -> None:
    found = compute_maps(deeplift, relu_network(), torch.cat([IMAGES[:1] * 0, IMAGES[1:]]), TARGET, how={})
    assert found.maps[0].isnan().all()
    assert found.maps[1:].isfinite().all()
