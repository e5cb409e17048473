"""Harmonic filling beside a sparse system built by loops and solved directly."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve
from torch import Tensor
from torch.testing import assert_close

from gradfaith.errors import ImputationFailed
from gradfaith.metrics.imputers import harmonic
from gradfaith.metrics.imputers.harmonic import solve

Mask = Callable[[int, int], Tensor]  # true where a pixel stays


def rows(h: int, w: int) -> tuple[Tensor, Tensor]:
    return torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")


def uniform(*size: int, seed: int = 0) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed))


def smooth(h: int, w: int, removed: float, rough: float = 0.0) -> Tensor:
    """Holes like those a class activation map leaves, or with frayed edges."""
    cells = uniform(1, 1, 7, 7, seed=3)
    map_ = torch.nn.functional.interpolate(cells, size=(h, w), mode="bilinear")[0, 0] + rough * uniform(h, w, seed=4)
    return map_ > map_.quantile(removed)


def only(h: int, w: int, *places: tuple[int, int]) -> Tensor:
    keep = torch.zeros(h, w, dtype=torch.bool)
    for row, column in places:
        keep[row % h, column % w] = True
    return keep


MASKS: dict[str, Mask] = {
    **{f"smooth, {share} removed": lambda h, w, share=share: smooth(h, w, share) for share in (0.2, 0.4, 0.6, 0.8)},
    **{
        f"scattered, {share} removed": lambda h, w, share=share: uniform(h, w) > share
        for share in (0.2, 0.5, 0.8, 0.98)
    },
    "chequered": lambda h, w: sum(rows(h, w)) % 2 == 0,
    "every second column": lambda h, w: rows(h, w)[1] % 2 == 0,
    "one in four, even": lambda h, w: (rows(h, w)[0] % 2 == 0) & (rows(h, w)[1] % 2 == 0),
    "one in four, odd": lambda h, w: (rows(h, w)[0] % 2 == 1) & (rows(h, w)[1] % 2 == 1),
    "points": lambda h, w: (rows(h, w)[0] % 8 == 3) & (rows(h, w)[1] % 8 == 3),
    "a left strip": lambda h, w: rows(h, w)[1] < w // 5,
    "an outline": lambda h, w: ~torch.nn.functional.pad(torch.ones(h - 2, w - 2), (1, 1, 1, 1)).bool(),
    "one hole in a corner": lambda h, w: ~only(h, w, (0, 0)),
    "one hole inside": lambda h, w: ~only(h, w, (3, 4)),
    "two pixels": lambda h, w: only(h, w, (1, 2), (-2, -3)),
    "a diagonal": lambda h, w: rows(h, w)[0] == rows(h, w)[1],
}


def directly(image: Tensor, keep: Tensor) -> Tensor:  # (c, h, w), (h, w)
    """As written: one equation per removed pixel."""
    h, w = keep.shape
    removed = [(row, column) for row in range(h) for column in range(w) if not keep[row, column]]
    if not removed:
        return image.double()
    number = {place: index for index, place in enumerate(removed)}
    system, right = lil_matrix((len(removed), len(removed))), np.zeros((len(removed), len(image)))
    pixels: NDArray[np.float64] = image.double().numpy()
    for index, (row, column) in enumerate(removed):
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                place = (row + down, column + across)
                if (down, across) == (0, 0) or not (0 <= place[0] < h and 0 <= place[1] < w):
                    continue
                weight = 1 / 6 if 0 in (down, across) else 1 / 12
                system[index, index] += weight
                if place in number:
                    system[index, number[place]] -= weight
                else:
                    right[index] += weight * pixels[:, place[0], place[1]]
    filled = pixels.copy()
    filled[:, ~keep.numpy()] = spsolve(system.tocsc(), right).reshape(len(removed), -1).T
    return torch.from_numpy(filled)


@pytest.mark.parametrize("size", [(16, 16), (31, 45), (12, 70), (64, 57)], ids=str)
@pytest.mark.parametrize("mask", MASKS)
def test_the_solution_is_the_direct_one(mask, size):
    keep, image = MASKS[mask](*size), 2 * uniform(2, *size, seed=5) - 1
    assert_close(solve(image[None], keep[None])[0].double(), directly(image, keep), rtol=0, atol=5e-4)


@pytest.mark.parametrize(("share", "rough"), [(0.2, 0.0), (0.4, 0.1), (0.6, 0.0), (0.8, 0.1)])
def test_the_solution_is_the_direct_one_at_full_size(share, rough):
    """Of an image with large and small structure. Frayed edges are the hardest."""
    keep, large = smooth(224, 224, share, rough), uniform(1, 1, 9, 9, seed=1)
    image = torch.nn.functional.interpolate(large, size=(224, 224), mode="bicubic")[0]
    image = (1.4 * image - 0.7 + 0.6 * (uniform(1, 224, 224) - 0.5)).clamp(-1, 1)
    assert_close(solve(image[None], keep[None])[0].double(), directly(image, keep), rtol=0, atol=2e-4)


@pytest.mark.parametrize("size", [(1, 2), (2, 1), (1, 40), (2, 33), (3, 3), (40, 1)], ids=str)
def test_strips_and_specks_are_solved_too(size):
    keep, image = only(*size, (0, 0), (-1, -1)), uniform(1, *size)
    if size[0] * size[1] > 2:
        keep[-1, -1] = False
    assert_close(solve(image[None], keep[None])[0].double(), directly(image, keep), rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", [(47, 30), (224, 224)], ids=str)
@pytest.mark.parametrize("mask", MASKS)
def test_ten_iterations_are_enough_for_every_mask(mask, size):
    solve(uniform(1, 1, *size), MASKS[mask](*size)[None], limit=10)


def test_a_tighter_tolerance_comes_nearer():
    keep, image = smooth(48, 48, 0.8), uniform(1, 48, 48).double()
    truth = directly(image, keep)
    errors = [float((solve(image[None], keep[None], tolerance=t)[0] - truth).abs().max()) for t in (1e-1, 1e-4, 1e-9)]
    assert errors[0] > 10 * errors[1]
    assert errors[1] < 5e-4
    assert errors[2] < 1e-8


def test_the_last_correction_is_added():
    """However loose the tolerance, one cycle is spent, and halves the error of filling with the mean at least."""
    keep, image = smooth(48, 48, 0.6), rows(48, 48)[1][None] / 48
    truth, mean = directly(image, keep), image[:, keep].mean()
    cycle = solve(image[None], keep[None], tolerance=10.0, limit=1)[0]
    assert (cycle - truth).norm() < 0.5 * (torch.where(keep, image, mean) - truth).norm()


def test_an_image_is_refused_that_did_not_get_there():
    keep = smooth(48, 48, 0.8).expand(2, -1, -1)
    with pytest.raises(ImputationFailed, match="2 of 2 image channels were not filled to a tolerance"):
        solve(uniform(2, 1, 48, 48), keep, limit=2)


def test_an_image_that_is_not_finite_is_refused_and_counted_alone():
    images, keep = uniform(3, 1, 16, 16), smooth(16, 16, 0.5).expand(3, -1, -1)
    images[1, 0][keep[1]] = torch.nan
    with pytest.raises(ImputationFailed, match="1 of 3"):
        solve(images, keep)


def test_what_was_removed_is_never_read():
    keep, image = smooth(20, 20, 0.5)[None], uniform(1, 2, 20, 20)
    spoilt = torch.where(keep, image, torch.nan)
    assert torch.equal(solve(spoilt, keep), solve(image, keep))


def test_an_image_of_which_nothing_is_kept_has_no_solution():
    keep = torch.stack([torch.ones(8, 8), torch.zeros(8, 8)])
    with pytest.raises(ImputationFailed, match="if all of its pixels are removed"):
        solve(uniform(2, 1, 8, 8), keep)


@pytest.mark.parametrize("tolerance", [0.5, 1e-4])
@pytest.mark.parametrize("mask", MASKS)
def test_kept_pixels_stay_to_the_bit_and_filled_ones_within_their_range(mask, tolerance):
    """Of an image of black and white squares, where a rough solution would go beyond both."""
    keep, images = (
        MASKS[mask](33, 40)[None],
        uniform(1, 2, 3, 4).round().repeat_interleave(11, 2).repeat_interleave(10, 3),
    )
    filled = solve(images, keep, tolerance=tolerance)
    for before, after in zip(images[0], filled[0], strict=True):
        assert torch.equal(after[keep[0]], before[keep[0]])
        assert after.min() >= before[keep[0]].min()
        assert after.max() <= before[keep[0]].max()


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("grey", [0.0, 0.37, 1.0])
def test_a_constant_stays_constant_to_the_bit(mask, grey):
    images, keep = torch.full((1, 1, 33, 40), grey), MASKS[mask](33, 40)[None]
    spoilt = torch.where(keep, images, 0.8)
    assert torch.equal(solve(spoilt, keep, limit=1), images)


def test_a_ramp_goes_on_through_a_hole():
    """The weights are symmetric, so a linear image solves the equations wherever the hole keeps off the border."""
    down, across = rows(40, 52)
    ramp = (0.01 * down + 0.005 * across)[None, None]
    keep = torch.ones(1, 40, 52, dtype=torch.bool)
    keep[:, 5:30, 8:44] = False
    assert_close(solve(torch.where(keep, ramp, 0), keep), ramp, rtol=0, atol=2e-4)


def test_a_solution_turns_with_its_image():
    keep, images = smooth(37, 48, 0.6)[None], uniform(1, 1, 37, 48)
    upright = solve(images, keep)
    assert_close(solve(images.flip(3), keep.flip(2)).flip(3), upright, rtol=0, atol=5e-4)
    assert_close(solve(images.mT.contiguous(), keep.mT.contiguous()).mT, upright, rtol=0, atol=5e-4)


def test_a_batch_is_solved_as_its_images_are_alone():
    """Masks of very different difficulty, so that some are done long before the others."""
    keep = torch.stack([mask(30, 41) for mask in MASKS.values()])
    images = uniform(len(keep), 3, 30, 41)
    alone = [solve(image[None], mask[None])[0] for image, mask in zip(images, keep, strict=True)]
    assert_close(solve(images, keep), torch.stack(alone), rtol=0, atol=1e-5)


def test_no_images_are_filled_to_none_and_many_in_pieces(monkeypatch):
    keep, images = smooth(30, 41, 0.6).expand(5, -1, -1), uniform(5, 2, 30, 41)
    assert solve(images[:0], keep[:0]).shape == (0, 2, 30, 41)
    whole = solve(images, keep)
    monkeypatch.setattr(harmonic, "CACHED", 2 * 30 * 41)
    monkeypatch.setattr(harmonic, "TOGETHER", 3)
    assert_close(solve(images, keep), whole, rtol=0, atol=1e-5)


def test_a_grey_image_in_three_channels_is_solved_once(monkeypatch):
    keep, grey = smooth(30, 30, 0.6).expand(2, -1, -1), uniform(2, 1, 30, 30)
    plain, planes = harmonic.Solver.solve, []

    def watched(solver: harmonic.Solver, some: Tensor, *rest: object) -> Tensor:
        planes.append(len(some))
        return plain(solver, some, *rest)

    monkeypatch.setattr(harmonic.Solver, "solve", watched)
    assert torch.equal(solve(grey.expand(-1, 3, -1, -1), keep), solve(grey, keep).expand(-1, 3, -1, -1))
    solve(uniform(2, 3, 30, 30), keep)
    assert planes == [2, 2, 3, 3]


def test_half_precision_is_solved_in_single():
    keep, images = smooth(30, 30, 0.6)[None], uniform(1, 1, 30, 30).half()
    filled = solve(images, keep)
    assert filled.dtype == torch.half
    assert_close(filled.float(), solve(images.float(), keep), rtol=0, atol=1e-3)


def test_the_threads_of_the_process_are_as_before():
    """It solves on one of them."""
    threads, keep = torch.get_num_threads(), smooth(30, 30, 0.6)[None]
    try:
        torch.set_num_threads(2)
        solve(uniform(1, 1, 30, 30), keep)
        assert torch.get_num_threads() == 2
        with pytest.raises(ImputationFailed):
            solve(uniform(1, 1, 30, 30), keep, limit=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
