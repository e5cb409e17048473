"""Imputers: what takes the place of a removed pixel."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.testing import assert_close

from gradfaith import registry
from gradfaith.errors import StudyInvalid
from gradfaith.metrics.contract import Context, Imputer
from gradfaith.metrics.imputers import background, black, blur, mean

IMAGES = torch.rand(3, 2, 24, 32, generator=torch.Generator().manual_seed(0))
CONTEXT = Context(torch.zeros(3, 24, 32), torch.tensor([0.25, 0.5]), ["a", "b", "c"], ("study",))


@pytest.mark.parametrize("name", registry.names("imputers"))
def test_every_imputer_fills_whole_images_within_range_and_changes_none(name):
    module, before = registry.load("imputers", name), IMAGES.clone()
    filled = module.fill(IMAGES, CONTEXT)
    assert isinstance(module.IMPUTER, Imputer)
    assert filled.shape == IMAGES.shape
    assert filled.dtype == IMAGES.dtype
    assert filled.min() >= 0
    assert filled.max() <= 1 + 1e-6
    assert torch.equal(IMAGES, before)


@pytest.mark.parametrize("name", registry.names("imputers"))
def test_every_imputer_fills_an_image_the_same_alone_and_in_a_batch(name):
    module = registry.load("imputers", name)
    alone = Context(CONTEXT.keep[1:2], CONTEXT.mean, ["b"], CONTEXT.key)
    assert_close(module.fill(IMAGES[1:2], alone)[0], module.fill(IMAGES, CONTEXT)[1], rtol=0, atol=1e-6)


def test_black_is_zero():
    assert (black.fill(IMAGES, CONTEXT) == 0).all()


def test_the_mean_is_the_datasets_per_channel():
    filled = mean.fill(IMAGES, CONTEXT)
    assert (filled[:, 0] == 0.25).all()
    assert (filled[:, 1] == 0.5).all()


def test_the_background_is_the_median_of_the_outermost_ring() -> None:
    """By hand, and blind to what is inside."""
    images = torch.zeros(1, 1, 4, 5)
    ring = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.7, 0.7, 0.7, 0.8, 0.9, 0.9, 0.9]
    images[0, 0, 0], images[0, 0, -1] = torch.tensor(ring[:5]), torch.tensor(ring[5:10])
    images[0, 0, 1:3, 0], images[0, 0, 1:3, -1] = torch.tensor(ring[10:12]), torch.tensor(ring[12:])
    assert_close(background.fill(images, CONTEXT), torch.full_like(images, 0.7))  # the lower of the two in the middle
    images[0, 0, 1:3, 1:4] = 5
    assert_close(background.fill(images, CONTEXT)[0, 0, 0, 0], torch.tensor(0.7))


def test_the_mean_is_refused_where_it_is_not_known():
    with pytest.raises(StudyInvalid, match="mean"):
        mean.fill(IMAGES, Context(CONTEXT.keep))


def test_the_blur_is_scipys_away_from_the_border():
    """sigma 0.05 of 24 pixels is 1.2; four sigmas from the border no weight is missing."""
    ours = blur.fill(IMAGES.double(), CONTEXT)[0, 0].numpy()
    theirs = gaussian_filter(IMAGES[0, 0].double().numpy(), sigma=1.2, truncate=12)
    np.testing.assert_allclose(ours[6:-6, 6:-6], theirs[6:-6, 6:-6], atol=1e-5)


def test_the_blur_leaves_a_flat_image_as_it_is_and_flattens_any_other():
    assert_close(blur.fill(torch.full_like(IMAGES, 0.4), CONTEXT), torch.full_like(IMAGES, 0.4))
    spreads = [float(blur.fill(IMAGES, CONTEXT, sigma=sigma).std()) for sigma in (0.01, 0.05, 0.2)]
    assert float(IMAGES.std()) > spreads[0] > spreads[1] > spreads[2]


def test_the_blur_knows_no_left_and_right():
    assert_close(blur.fill(IMAGES.flip(3), CONTEXT), blur.fill(IMAGES, CONTEXT).flip(3))
