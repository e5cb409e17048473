"""Augmentation: exact where geometry is exact, bounded, and drawn from its own stream."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Generator, Tensor
from torch.testing import assert_close

from gradfaith.config.sections import Recipe
from gradfaith.models.training.image_source import augment, draw_affine

OFF = Recipe(epochs=1, flip=False, shift=0.0, rotate=0.0, scale=0.0, contrast=0.0)


def stream(key: int = 0) -> Generator:
    return Generator().manual_seed(key)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(64, 1, 12, 12, generator=stream(7))


def test_nothing_switched_on_changes_nothing(images):
    assert torch.equal(augment(images, OFF, stream()), images)


def test_a_flip_mirrors_about_half_of_the_images_and_leaves_the_others(images):
    changed = augment(images, replace(OFF, flip=True), stream())
    mirrored = [torch.allclose(a, b.flip(-1), atol=1e-5) for a, b in zip(changed, images, strict=True)]
    kept = [torch.allclose(a, b, atol=1e-5) for a, b in zip(changed, images, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 20 <= sum(mirrored) <= 44


@pytest.mark.parametrize("aspect", [1.0, 2.0])
def test_a_rotation_is_an_isometry_in_pixels(aspect):
    """In pixel units (x times the aspect) the matrix is orthogonal and turns by at most the angle asked for."""
    theta = draw_affine(50, aspect, replace(OFF, rotate=30.0), stream())[:, :, :2]
    pixels = torch.diag(torch.tensor([aspect, 1.0])) @ theta @ torch.diag(torch.tensor([1 / aspect, 1.0]))
    assert_close(pixels @ pixels.mT, torch.eye(2).expand(50, 2, 2), atol=1e-5, rtol=0)
    angles = torch.atan2(pixels[:, 1, 0], pixels[:, 0, 0]).abs()
    assert math.radians(20) < angles.max() <= math.radians(30)


def test_a_shift_moves_by_at_most_its_fraction_of_the_side():
    shift = draw_affine(200, 1.0, replace(OFF, shift=0.1), stream())[:, :, 2] / 2
    assert 0.08 < shift.abs().max() <= 0.1


def test_zoom_stays_between_its_bounds():
    zoom = 1 / draw_affine(200, 1.0, replace(OFF, scale=0.25), stream())[:, 0, 0]
    assert 0.8 <= zoom.min() < 0.85
    assert 1.2 < zoom.max() <= 1.25


def test_contrast_and_brightness_change_by_at_most_their_share_each_by_itself(images):
    grey = 0.4 + 0.2 * images
    changed = augment(grey, replace(OFF, contrast=0.3), stream())
    brightness = changed.mean(dim=(1, 2, 3)) / grey.mean(dim=(1, 2, 3))
    contrast = changed.std(dim=(1, 2, 3)) / grey.std(dim=(1, 2, 3))
    for ratio in (brightness, contrast):
        assert 0.7 <= ratio.min() < 0.8
        assert 1.2 < ratio.max() <= 1.3
    assert abs(float(torch.corrcoef(torch.stack([brightness, contrast]))[0, 1])) < 0.4


def test_the_same_stream_gives_the_same_images_and_values_stay_in_range(images):
    settings = Recipe(epochs=1, shift=0.2, rotate=40, scale=0.3, contrast=0.9)
    first, again = augment(images, settings, stream(3)), augment(images, settings, stream(3))
    assert torch.equal(first, again)
    assert not torch.equal(first, augment(images, settings, stream(4)))
    assert first.min() >= 0
    assert first.max() <= 1


def test_switching_the_flip_off_leaves_the_other_changes_as_they_were():
    settings = Recipe(epochs=1, shift=0.2, rotate=40, scale=0.3)
    with_flip, without = (
        draw_affine(30, 1.0, settings, stream()),
        draw_affine(30, 1.0, replace(settings, flip=False), stream()),
    )
    assert torch.equal(with_flip[:, 1], without[:, 1])
    assert torch.equal(with_flip[:, 0, :2].abs(), without[:, 0, :2].abs())
