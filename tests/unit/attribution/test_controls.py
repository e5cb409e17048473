"""The controls are what they say, and shuffling moves a map's places and nothing else."""

import torch
from torch import Generator
from torch.testing import assert_close

from gradfaith.attribution.cell import shuffle_maps
from gradfaith.attribution.contract import ControlInputs
from gradfaith.attribution.controls import centre, edges, half, random, random_grid, uniform


def streams(count: int, first: int = 0) -> list[Generator]:
    return [Generator().manual_seed(first + number) for number in range(count)]


def scene(count: int = 3, side: int = 32, grid: tuple[int, int] = (4, 6)) -> ControlInputs:
    images = torch.rand(count, 1, side, side, generator=Generator().manual_seed(0))
    return ControlInputs(images, grid, streams(count))


def test_noise_is_uniform_and_each_images_own() -> None:
    for control, cells in ((random, (128, 128)), (random_grid, (60, 60))):
        maps = control.attribute(scene(side=128, grid=(60, 60)))
        assert maps.shape == (3, *cells)
        assert abs(float(maps.mean()) - 1 / 2) < 0.01
        assert abs(float(maps.var()) - 1 / 12) < 0.005
        assert not torch.equal(maps[0], maps[1])
        again = control.attribute(ControlInputs(scene(side=128).images[2:], (60, 60), streams(1, first=2)))
        assert torch.equal(maps[2], again[0]), "its stream, whatever the batch"


def test_the_centre_is_highest_falls_evenly_and_is_as_wide_as_asked() -> None:
    map_ = centre.attribute(scene(grid=(5, 5)), width=0.2)[0]
    assert map_.argmax() == 12
    assert map_[2, 2] == 1
    assert_close(map_, map_.T)
    assert_close(map_, map_.flip(0))
    assert_close(map_[2, 3], torch.tensor(-0.5).exp())  # one cell is a fifth of the side: one width


def test_edges_by_hand() -> None:
    """A step of height 1 in x: |S_x| = 4 on both sides of it, nothing elsewhere, borders included."""
    step = torch.zeros(1, 3, 6, 6)
    step[..., 3:] = 1
    expected = torch.zeros(6, 6)
    expected[:, 2:4] = 4
    assert_close(edges.attribute(ControlInputs(step, (2, 2), streams(1)))[0], expected)
    assert_close(edges.attribute(ControlInputs(step.mT, (2, 2), streams(1)))[0], expected.T)


def test_edges_of_a_slope_are_its_steepness() -> None:
    ramp = torch.arange(8.0).repeat(8, 1)[None, None]
    assert_close(edges.attribute(ControlInputs(ramp, (2, 2), streams(1)))[0, :, 1:-1], torch.full((8, 6), 8.0))


def test_uniform_and_half_are_constant_but_for_their_corners() -> None:
    ones, halves = uniform.attribute(scene())[0], half.attribute(scene())[0]
    assert (ones[0, 0], halves[0, 0], halves[-1, -1]) == (0, 0, 1)
    assert ones.sum() == 32 * 32 - 1
    assert (halves == 0.5).sum() == 32 * 32 - 2


def test_shuffled_cells_are_the_same_cells_elsewhere() -> None:
    maps = torch.rand(3, 5, 7)
    moved = shuffle_maps(maps, streams(3), "native")
    assert not torch.equal(moved, maps)
    assert torch.equal(moved.flatten(1).sort().values, maps.flatten(1).sort().values)


def test_every_cell_goes_everywhere_equally_often() -> None:
    """1200 permutations of 6 cells: 200 visits of each place by each cell, give or take four standard deviations."""
    maps = torch.arange(6.0).reshape(1, 2, 3).repeat(1200, 1, 1)
    visits = torch.nn.functional.one_hot(shuffle_maps(maps, streams(1200), "native").long().flatten(1)).sum(dim=0)
    assert (visits - 200).abs().max() < 4 * (1200 * (1 / 6) * (5 / 6)) ** 0.5


def test_rolled_maps_keep_their_neighbours_and_always_move() -> None:
    maps = torch.arange(6.0).reshape(1, 2, 3).repeat(200, 1, 1)
    moved = shuffle_maps(maps, streams(200), "input")
    rolls = [maps[0].roll((down, right), (0, 1)) for down in range(2) for right in range(3)]
    seen = {next(number for number, roll in enumerate(rolls) if torch.equal(roll, map_)) for map_ in moved}
    assert seen == {1, 2, 3, 4, 5}


def test_a_shuffle_depends_on_its_own_generator_alone() -> None:
    maps = torch.rand(4, 6, 6)
    for grid in ("native", "input"):
        many = shuffle_maps(maps, streams(4), grid)
        assert torch.equal(many[3], shuffle_maps(maps[3:], streams(1, first=3), grid)[0])
