"""The noisy linear imputer beside grad-cam's, from the authors of ROAD: one image at a time, scipy's direct solver, one core."""

from importlib import import_module

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.testing import assert_close

from gradfaith.metrics.contract import Context
from gradfaith.metrics.imputers import noisy_linear
from gradfaith.models import timm_import  # noqa: F401 - beside a CPU torch, torchvision imports only after this

NoisyLinearImputer = import_module("pytorch_grad_cam.metrics.road").NoisyLinearImputer
SIZE = (64, 80)


def map_of(cells: int) -> Tensor:
    values = torch.rand(1, 1, cells, cells, generator=torch.Generator().manual_seed(cells))
    return interpolate(values, size=SIZE, mode="bilinear")[0, 0]


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8])
@pytest.mark.parametrize("cells", [5, 40])
@pytest.mark.parametrize("channels", [1, 3])
def test_filled_images_are_grad_cams(cells, share, channels):
    """Up to its noise, which we switch off to compare the filling, and then compare by its size."""
    image, map_ = torch.rand(channels, *SIZE, generator=torch.Generator().manual_seed(1)), map_of(cells)
    for keep in (map_ > map_.quantile(share), map_ < map_.quantile(1 - share)):
        context = Context(keep[None].float(), None, ["a"])
        ours = noisy_linear.fill(image[None], context, noise=0)[0]
        assert_close(ours, NoisyLinearImputer(noise=0)(image, keep.float()), rtol=0, atol=5e-4)


def test_noise_is_grad_cams_in_size():
    image, keep = torch.full((3, *SIZE), 0.5), (map_of(5) > 0.5).float()
    ours = noisy_linear.fill(image[None], Context(keep[None], None, ["a"]))[0]
    theirs = NoisyLinearImputer()(image, keep)
    sizes = [float((filled - image)[:, keep == 0].std()) for filled in (ours, theirs)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)
