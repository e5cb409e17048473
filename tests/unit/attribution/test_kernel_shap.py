"""KernelSHAP: Shapley values by enumeration, the sum that is exact for any samples, and convergence towards them.

captum hands scores on in single precision.
"""

from functools import cache
from itertools import combinations
from math import factorial

import numpy as np
import pytest
import torch
from asked import TARGET, compute_maps, linear_network, noise, relu_network
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.testing import assert_close

from gradfaith.attribution.methods import kernel_shap
from gradfaith.attribution.support.superpixels import cut_superpixels

IMAGES = interpolate(noise(3, 1, 4, 4), (24, 24), mode="bicubic").clamp(0, 1)


def shapley(net: nn.Module, image: Tensor, labels: Tensor, target: int) -> NDArray[np.float64]:
    """By the definition: what each player adds to each coalition without it."""
    players = range(int(labels.max()) + 1)
    filled = image.clone()
    for player in players:
        filled[:, labels == player] = image[:, labels == player].mean(dim=1, keepdim=True)

    @cache
    def value(coalition: tuple[int, ...]) -> float:
        kept = torch.isin(labels, torch.tensor(coalition, dtype=torch.long))
        with torch.no_grad():
            return float(net(torch.where(kept, image, filled)[None])[0, target])

    total = np.zeros(len(players))
    for player in players:
        for size in players:
            for others in combinations([one for one in players if one != player], size):
                share = factorial(size) * factorial(len(players) - size - 1) / factorial(len(players))
                total[player] += share * (value(tuple(sorted((*others, player)))) - value(others))
    return total


def test_few_superpixels_get_their_shapley_values() -> None:
    net = relu_network()
    found = compute_maps(kernel_shap, net, IMAGES, TARGET, how={"segments": 8, "samples": 300})
    for row, labels in enumerate([cut_superpixels(image, 8) for image in IMAGES]):
        assert 6 <= labels.max() + 1 <= 8
        expected = torch.from_numpy(shapley(net, IMAGES[row], labels, int(TARGET[row])))[labels]
        assert_close(found.maps[row], expected, rtol=1e-5, atol=1e-7)
        assert found.diagnostics["superpixels"][row] == labels.max() + 1
    assert found.diagnostics["agreement_150"].isnan().all(), "nothing is drawn"


@pytest.mark.parametrize("samples", [25, 40, 400])
def test_the_sum_is_exact_however_few_the_samples(samples: int) -> None:
    net, how = relu_network(), {"segments": 30, "samples": samples, "fill": "grey", "allow_underdetermined": True}
    found = compute_maps(kernel_shap, net, IMAGES, TARGET, how=how)
    whole = (net(IMAGES) - net(torch.full_like(IMAGES, 0.5))).gather(1, TARGET[:, None])[:, 0].detach()
    for row, labels in enumerate([cut_superpixels(image, 30) for image in IMAGES]):
        values = [float(found.maps[row][labels == number][0]) for number in range(int(labels.max()) + 1)]
        assert len(values) > 12
        assert sum(values) == pytest.approx(float(whole[row]), rel=1e-5)


def test_of_a_linear_network_the_values_are_found_as_soon_as_they_are_determined() -> None:
    net, weight = linear_network(24)
    found = compute_maps(kernel_shap, net, IMAGES, TARGET, how={"segments": 30, "samples": 160, "fill": "grey"})
    for row, labels in enumerate([cut_superpixels(image, 30) for image in IMAGES]):
        parts = (weight[row, 0] * (IMAGES[row, 0] - 0.5)).flatten()
        own = torch.zeros(int(labels.max()) + 1).double().index_add_(0, labels.flatten(), parts)
        assert_close(found.maps[row], own[labels], rtol=1e-5, atol=1e-7)
    assert_close(found.diagnostics["fit"], torch.ones(3), rtol=0, atol=1e-6)
    assert_close(found.diagnostics["agreement_80"], torch.ones(3), rtol=0, atol=1e-6)


def test_copies_come_in_pairs_of_sizes_drawn_by_the_kernel() -> None:
    copies = kernel_shap._copies(12, 4000, torch.Generator().manual_seed(0))
    drawn = copies.kept[2:]
    assert np.array_equal(drawn[0::2] + drawn[1::2], np.ones((2000, 12)))
    sizes = np.arange(1, 12)
    expected = 1 / (sizes * (12 - sizes))
    shares = np.bincount(drawn.sum(axis=1).astype(int), minlength=13)[1:12] / len(drawn)
    assert np.abs(shares - expected / expected.sum()).max() < 0.03
    assert np.abs(drawn.mean(axis=0) - 0.5).max() < 1e-12


def test_more_samples_come_nearer_to_the_shapley_values() -> None:
    exact = compute_maps(kernel_shap, relu_network(), IMAGES, TARGET, how={"segments": 16, "samples": 2**11}).maps
    errors = []
    for samples in (40, 320):
        tries = [
            compute_maps(
                kernel_shap,
                relu_network(),
                IMAGES,
                TARGET,
                how={"segments": 16, "samples": samples},
                seeds=[s, s + 1, s + 2],
            )
            for s in (1, 11, 21, 31)
        ]
        errors.append(sum(float((one.maps - exact).square().mean()) for one in tries))
    assert errors[1] < errors[0] / 4, "by a factor of 8, but for chance"
