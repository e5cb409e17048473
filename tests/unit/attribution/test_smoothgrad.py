"""SmoothGrad: noise of the stated size, averaged before its size is taken."""

from dataclasses import replace

import torch
from asked import TARGET, compute_maps, noise, open_image_inputs, relu_network
from torch import Generator
from torch.testing import assert_close

from gradfaith.attribution.methods import saliency, smoothgrad

IMAGES = 0.2 + 0.5 * noise(3, 2, 12, 12)


def test_it_is_the_mean_written_out() -> None:
    net = relu_network(channels=2)
    for row in range(3):
        seeds = torch.randint(2**62, (4,), generator=Generator().manual_seed(row))
        total = torch.zeros(2, 12, 12, dtype=torch.float64)
        for seed in seeds.tolist():
            drawn = torch.randn(2, 12, 12, generator=Generator().manual_seed(seed)).double()
            noisy = (IMAGES[row] + 0.3 * (IMAGES[row].max() - IMAGES[row].min()) * drawn)[None].requires_grad_()
            total += torch.autograd.grad(net(noisy)[0, TARGET[row]], noisy)[0][0]
        found = compute_maps(smoothgrad, net, IMAGES, TARGET, how={"samples": 4, "noise": 0.3}).maps
        assert_close(found[row], (total / 4).abs().amax(dim=0))


def test_without_noise_it_is_saliency() -> None:
    with open_image_inputs(relu_network(channels=2), IMAGES, TARGET) as given:
        assert_close(smoothgrad.attribute(given, samples=3, noise=0.0), saliency.attribute(given))


def test_a_copy_built_twice_is_the_same_copy() -> None:
    """A chunk that does not fit in memory is built again, in smaller pieces."""
    with open_image_inputs(relu_network(channels=2), IMAGES, TARGET) as given:
        seen = []
        again = torch.zeros(4, 2, 12, 12)

        def gradients(build, rows):
            seen.append(build(slice(0, 4)))
            seen.append(torch.cat([build(slice(0, 1)), build(slice(1, 4))]))
            return again

        twice = replace(given, gradients=gradients)
        smoothgrad.attribute(twice, samples=4)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0][0], seen[0][1])
