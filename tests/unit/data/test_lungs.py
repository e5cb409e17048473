"""The lungs are the air inside the body: found where they were drawn, and nowhere else."""

import numpy as np
import pytest
from numpy.typing import NDArray

from gradfaith.data.lungs import body_mask, lung_mask, otsu_threshold

SIDE = 256
DOWN, ACROSS = np.mgrid[:SIDE, :SIDE]


def ellipse(row: float, column: float, high: float, wide: float) -> NDArray[np.bool_]:
    return ((DOWN - row) / high) ** 2 + ((ACROSS - column) / wide) ** 2 <= 1


DRAWN = ellipse(118, 85, 45, 28) | ellipse(118, 171, 45, 28)
COUCH = (abs(DOWN - 215) <= 1) & (ACROSS > 20) & (ACROSS < 236)


def chest(contrast: float = 1.0, noise: float = 0.0) -> NDArray[np.uint8]:
    grey = np.where(ellipse(125, 128, 75, 105) & ~DRAWN, 200.0, 40.0)
    grey[DRAWN], grey[COUCH], grey[ellipse(180, 128, 3, 3)] = 50, 250, 40  # the last is gas in the gullet
    grey = 40 + contrast * (grey - 40) + noise * np.random.default_rng(1).normal(size=grey.shape)
    return grey.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("contrast", "noise"), [(1.0, 0.0), (0.3, 4.0), (1.0, 20.0)])
def test_drawn_lungs_are_found_at_any_window_and_the_gullet_is_not(contrast: float, noise: float) -> None:
    found = lung_mask(chest(contrast, noise))
    assert (found & DRAWN).sum() / (found | DRAWN).sum() > 0.9
    assert not found[ellipse(180, 128, 5, 5)].any()


def test_the_couch_is_no_body() -> None:
    whole = body_mask(chest())
    assert not (whole & COUCH).any()
    assert whole[DRAWN].all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.uint8),
        np.full((64, 80), 38, np.uint8),
        np.full((64, 64), 255, np.uint8),
        np.zeros((1, 1), np.uint8),
        np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8),
        np.where(ellipse(125, 128, 75, 105), 200, 40).astype(np.uint8),
    ],
    ids=["black", "grey", "white", "one pixel", "noise", "a body without air"],
)
def test_what_has_no_lungs_yields_none(image: NDArray[np.uint8]) -> None:
    found = lung_mask(image)
    assert found.shape == image.shape
    assert not found.any()


def test_the_threshold_lies_between_two_greys() -> None:
    image = np.repeat([30, 31, 199, 200], 25).reshape(10, 10).astype(np.uint8)
    assert 31 <= otsu_threshold(image) < 199
