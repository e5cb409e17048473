"""LIME: the weights of a linear model come back, the ridge is the textbook's, the kernel is the package's."""

import numpy as np
import torch
from asked import TARGET, compute_maps, linear_network, noise, relu_network
from sklearn.linear_model import Ridge
from torch import Generator
from torch.testing import assert_close

from gradfaith.attribution.methods import lime
from gradfaith.attribution.support.superpixels import cut_superpixels

IMAGES = noise(3, 1, 24, 24)


def test_the_weights_of_a_linear_network_come_back() -> None:
    net, weight = linear_network(24)
    how = {"segments": 12, "samples": 80, "ridge": 0.0, "fill": "grey"}
    found = compute_maps(lime, net, IMAGES, TARGET, how=how)
    for row, labels in enumerate([cut_superpixels(image, 12) for image in IMAGES]):
        parts = (weight[row, 0] * (IMAGES[row, 0] - 0.5)).flatten()
        own = torch.zeros(int(labels.max()) + 1).double().index_add_(0, labels.flatten(), parts)
        assert_close(found.maps[row], own[labels], rtol=1e-5, atol=1e-7)
    assert_close(found.diagnostics["fit"], torch.ones(3), rtol=0, atol=1e-6)


def test_the_fit_is_scikit_learn_s_ridge() -> None:
    draw = np.random.default_rng(0)
    kept, scores, weights = draw.integers(0, 2, (60, 9)).astype(float), draw.normal(size=60), draw.uniform(0.1, 1, 60)
    peer = Ridge(alpha=1.5).fit(kept, scores, sample_weight=weights)
    assert np.allclose(lime._fit(kept, scores, weights, ridge=1.5), [peer.intercept_, *peer.coef_], rtol=1e-9)


def test_copies_are_the_image_and_fair_coins_weighed_by_the_cosine_kernel() -> None:
    copies = lime._copies(20, 3000, Generator().manual_seed(0), width=0.25)
    assert copies.kept[0].all()
    assert copies.weights[0] == 1
    assert np.abs(copies.kept[1:].mean(axis=0) - 0.5).max() < 0.04
    one = copies.kept[7]
    cosine = one.sum() / (np.sqrt(one.sum()) * np.sqrt(20))
    assert np.isclose(copies.weights[7], np.sqrt(np.exp(-((1 - cosine) ** 2) / 0.25**2)), rtol=1e-12)


def test_a_heavier_ridge_makes_smaller_weights() -> None:
    sizes = [
        compute_maps(lime, relu_network(), IMAGES, TARGET, how={"segments": 12, "samples": 60, "ridge": ridge})
        .maps.abs()
        .sum()
        for ridge in (0.0, 10.0, 1000.0)
    ]
    assert sizes[0] > sizes[1] > 2 * sizes[2]
