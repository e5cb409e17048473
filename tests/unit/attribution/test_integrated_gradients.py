"""Integrated gradients: completeness, and the integral written out."""

import pytest
import torch
from asked import TARGET, compute_maps, draw_weights, noise, open_image_inputs, relu_network
from torch import Tensor, nn
from torch.testing import assert_close

from gradfaith.attribution.methods import integrated_gradients

IMAGES = noise(3, 2, 12, 12)


def smooth() -> nn.Module:
    return draw_weights(nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(400, 3)))


def gained(net: nn.Module, start: Tensor) -> Tensor:
    difference: Tensor = (net(IMAGES) - net(start)).gather(1, TARGET[:, None])[:, 0].detach()
    return difference


@pytest.mark.parametrize("rule", ["midpoint", "gauss"])
def test_a_map_sums_to_what_the_score_gains_over_the_baseline(rule: str) -> None:
    found = compute_maps(integrated_gradients, smooth(), IMAGES, TARGET, how={"steps": 200, "rule": rule})
    assert_close(found.maps.sum(dim=(1, 2)), gained(smooth(), torch.zeros_like(IMAGES)), rtol=2e-4, atol=0)


@pytest.mark.parametrize("rule", ["midpoint", "gauss"])
def test_what_is_missing_is_noted(rule: str) -> None:
    found = compute_maps(integrated_gradients, relu_network(channels=2), IMAGES, TARGET, how={"steps": 3, "rule": rule})
    whole = gained(relu_network(channels=2), torch.zeros_like(IMAGES))
    assert_close(found.diagnostics["completeness"], (found.maps.sum(dim=(1, 2)) - whole).abs() / whole.abs())
    assert (found.diagnostics["completeness"] > 1e-4).all()


def test_gauss_is_exact_where_the_midpoint_is_not() -> None:
    """Slopes that are a polynomial of degree 5 along the way: 3 nodes of Gauss suffice, up to their weights' rounding."""

    class Sixth(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).pow(6).sum(dim=1, keepdim=True).expand(-1, 3)

    errors = {
        rule: compute_maps(integrated_gradients, Sixth(), IMAGES, TARGET, how={"steps": 3, "rule": rule}).diagnostics[
            "completeness"
        ]
        for rule in ("midpoint", "gauss")
    }
    assert (errors["gauss"] < 1e-7).all()
    assert (errors["midpoint"] > 1e-2).all()


def test_it_is_the_sum_written_out() -> None:
    net, slow = relu_network(channels=2), torch.zeros(3, 12, 12, dtype=torch.float64)
    start = torch.full_like(IMAGES, 0.5)
    for row in range(3):
        for step in range(5):
            between = (start[row] + (step + 0.5) / 5 * (IMAGES[row] - start[row]))[None].requires_grad_()
            (slope,) = torch.autograd.grad(net((between - 0.5) / 0.25)[0, TARGET[row]], between)
            slow[row] += ((IMAGES[row] - start[row]) * slope[0]).sum(dim=0) / 5
    how = {"steps": 5, "rule": "midpoint", "baseline": "mean"}
    assert_close(compute_maps(integrated_gradients, net, IMAGES, TARGET, how=how, mean=0.5, std=0.25).maps, slow)


def test_a_pixel_like_the_baseline_does_not_matter() -> None:
    flat = IMAGES.clone()
    flat[:, :, :6] = 0.5
    maps = compute_maps(
        integrated_gradients, relu_network(channels=2), flat, TARGET, how={"baseline": "mean", "steps": 2}, mean=0.5
    ).maps
    assert not maps[:, :6].any()
    assert maps[:, 6:].all()


def test_a_blurred_image_is_its_own_kind_of_nothing() -> None:
    with open_image_inputs(relu_network(channels=2), IMAGES, TARGET) as given:
        black, blur = (integrated_gradients.attribute(given, steps=2, baseline=kind).maps for kind in ("black", "blur"))
    assert (black - blur).abs().max() > 0.1 * black.abs().max()
