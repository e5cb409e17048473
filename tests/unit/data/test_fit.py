"""Picture and mask go through one transform: what was marked stays marked."""

import numpy as np
import pytest

from gradfaith.data.fit import SquareFit, border_grey


@pytest.mark.parametrize("mode", ["pad", "crop"])
@pytest.mark.parametrize("shape", [(64, 64), (48, 80), (80, 48), (61, 97)])
@pytest.mark.parametrize("size", [24, 33, 64, 150])
def test_the_mask_of_a_bright_square_stays_on_the_square(mode, shape, size: int) -> None:
    image, mask = np.full(shape, 10, dtype=np.uint8), np.zeros(shape, dtype=bool)
    top, left = shape[0] // 2 - 4, shape[1] // 2 - 9  # off the centre, inside every crop
    mask[top : top + 12, left : left + 14] = True
    image[mask] = 210
    fit = SquareFit(size, mode)
    pixels, fitted = fit.pixels(image, 1), fit.mask(mask)
    assert pixels.shape == (1, size, size)
    bright = pixels[0] >= 110
    wrong = (bright != fitted).sum()
    assert wrong <= 0.12 * fitted.sum() + 4  # half-covered border pixels only
    for axis in (0, 1):
        centre = [np.flatnonzero(found.any(axis)).mean() for found in (bright, fitted)]
        assert abs(centre[0] - centre[1]) <= 0.51
    side = max(shape) if mode == "pad" else min(shape)
    assert fitted.sum() == pytest.approx(12 * 14 * (size / side) ** 2, rel=0.25)


def test_what_has_the_size_passes_to_the_bit() -> None:
    draw = np.random.default_rng(0)
    image, mask = draw.integers(0, 255, (40, 40), dtype=np.uint8), draw.random((40, 40)) > 0.5
    for mode in ("pad", "crop"):
        fit = SquareFit(40, mode)
        np.testing.assert_array_equal(fit.pixels(image, 1)[0], image)
        np.testing.assert_array_equal(fit.mask(mask), mask)


def test_a_tiny_lesion_never_vanishes() -> None:
    for row in range(0, 200, 7):
        mask = np.zeros((200, 260), dtype=bool)
        mask[row, row + 3] = True
        fitted = SquareFit(32, "pad").mask(mask)
        assert 1 <= fitted.sum() <= 4
        y, x = np.argwhere(fitted).mean(axis=0)
        assert abs(y - (row + 30.5) * 32 / 260 + 0.5) <= 1
        assert abs(x - (row + 3.5) * 32 / 260 + 0.5) <= 1


def test_nothing_stays_nothing_and_a_lesion_outside_the_crop_is_gone() -> None:
    mask = np.zeros((50, 100), dtype=bool)
    assert not SquareFit(32, "pad").mask(mask).any()
    mask[:, :5] = True
    assert not SquareFit(32, "crop").mask(mask).any()
    assert not SquareFit(50, "crop").mask(mask).any()
    assert SquareFit(32, "pad").mask(mask).any()


def test_padding_takes_the_picture_s_own_border() -> None:
    image = np.full((20, 40), 77, dtype=np.uint8)
    image[5:15, 5:35] = 200
    assert border_grey(image) == 77
    assert (SquareFit(40, "pad").pixels(image, 1)[0, :10] == 77).all()
    assert not SquareFit(40, "pad").mask(image > 100)[:10].any()


def test_grey_is_repeated_and_colour_becomes_grey() -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    np.testing.assert_array_equal(SquareFit(8, "pad").pixels(grey, 3), np.stack([grey] * 3))
    colour = np.stack([grey, grey, grey], axis=-1)
    np.testing.assert_array_equal(SquareFit(8, "pad").pixels(colour, 1)[0], grey)
    np.testing.assert_array_equal(SquareFit(8, "pad").pixels(colour + np.arange(3, dtype=np.uint8), 3)[2], grey + 2)
