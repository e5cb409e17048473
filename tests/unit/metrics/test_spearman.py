"""Spearman's agreement and the grid that two maps share: by hand, against scipy and a literal twin, and by identities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from gradfaith.metrics.agreement import spearman
from gradfaith.metrics.maps.rank_correlation import average_ranks, coarsest_shape, regrid
from gradfaith.metrics.runners.agreement import ComparedImages, ModelMaps, compare_seeds

seeds = st.integers(0, 2**32 - 1)


def rho(first, second):
    return spearman.score(spearman.ready(np.asarray(first)), spearman.ready(np.asarray(second)))


def literal(first, second):
    """Ranks by counting, the correlation by its definition."""
    below = [[sum(b < a for b in side) + sum(b == a for b in side) / 2 for a in side] for side in (first, second)]
    n = len(first)
    means = [sum(side) / n for side in below]
    a, b = ([value - mean for value in side] for side, mean in zip(below, means, strict=True))
    size = (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5
    return sum(x * y for x, y in zip(a, b, strict=True)) / size


def overlap(values, count):
    """Averages over the cells of a coarser grid, each old cell by the length of it that lies in the new one."""
    old, found = len(values), []
    for cell in range(count):
        low, high = cell / count, (cell + 1) / count
        shares = [max(0.0, min(high, (k + 1) / old) - max(low, k / old)) for k in range(old)]
        found.append(sum(s * v for s, v in zip(shares, values, strict=True)) / (high - low))
    return found


def test_by_hand():
    """1 2 3 4 against 1 2 4 3: one swap of neighbours, 1 - 6 * 2 / (4 * 15) = 0.8."""
    assert rho([[[1, 2], [3, 4]]], [[[1, 2], [4, 3]]]).value == pytest.approx([0.8])
    assert rho([[[1, 2], [3, 4]]], [[[4, 3], [2, 1]]]).value == pytest.approx([-1])


def test_a_constant_map_has_no_order():
    assert rho([[[1, 1], [1, 1]]], [[[4, 3], [2, 1]]]).undefined.tolist() == [True]


@settings(max_examples=30, deadline=None)
@given(seed=seeds, levels=st.sampled_from([2, 3, 7, 1000]))
def test_ties_share_their_average_rank_as_scipy_and_the_twin_have_it(seed, levels):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, levels, (2, 4, 3, 5)).astype(float)
    first[:, 0, 0], second[:, 0, 0] = -1, -1
    found = rho(first, second).value
    for a, b, value in zip(first.reshape(4, -1), second.reshape(4, -1), found, strict=True):
        assert value == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
        assert value == pytest.approx(literal(a.tolist(), b.tolist()), abs=1e-12)
        np.testing.assert_array_equal(average_ranks(a[None])[0], rankdata(a) - 1)


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_an_increasing_change_is_perfect_agreement_and_a_falling_one_the_opposite(seed):
    maps = np.random.default_rng(seed).normal(size=(5, 6, 6))
    np.testing.assert_allclose(rho(maps, np.exp(maps)).value, 1)
    np.testing.assert_allclose(rho(maps, -(maps**3)).value, -1)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, old=st.integers(1, 14), new=st.integers(1, 14))
def test_the_finer_map_is_averaged_over_the_area_of_each_coarse_cell(seed, old, new):
    values = np.random.default_rng(seed).normal(size=(2, old, old))
    count = min(old, new)
    found = regrid(values, (count, count))
    expected = [[overlap(column, count) for column in np.array([overlap(row, count) for row in m]).T] for m in values]
    np.testing.assert_allclose(found, np.array(expected).transpose(0, 2, 1), atol=1e-12)
    np.testing.assert_allclose(found.mean(axis=(1, 2)), values.mean(axis=(1, 2)), atol=1e-12)
    assert regrid(values, (old, old)) is values


def test_cells_that_are_level_stay_level_on_a_grid_that_does_not_nest():
    flat = np.full((1, 6, 6), 0.1, dtype=np.float32)
    flat[0, 5, 5] = 0.7
    found = regrid(flat, (4, 4))
    assert len(np.unique(found[0, :3, :3])) == 1


def test_the_coarser_grid_is_chosen_axis_by_axis_whoever_comes_first():
    assert coarsest_shape([(7, 14), (14, 6)]) == coarsest_shape([(14, 6), (7, 14)]) == (7, 6)


def between(first, second, **how):
    """The runner's Spearman of two models of one image each."""
    sides = {
        seed: ModelMaps(
            np.asarray(maps, dtype=np.float32), "native", True, (28, 28), [f"i{k}" for k in range(len(maps))]
        )
        for seed, maps in enumerate((first, second))
    }
    shown = ComparedImages(sides[0].image_ids, [f"g{k}" for k in range(len(first))], ["ill"] * len(first))
    found = compare_seeds(sides, shown, {"spearman": (spearman, {})}, **how)
    return {one.variant: one.result for one in found}


def test_maps_of_two_grids_meet_on_the_coarser_one():
    rng = np.random.default_rng(3)
    coarse, fine = rng.normal(size=(4, 7, 7)), rng.normal(size=(4, 14, 14))
    found = between(coarse, fine)["pairs"].value
    blocks = fine.astype(np.float32).astype(float).reshape(4, 7, 2, 7, 2).mean(axis=(2, 4))
    assert found == pytest.approx(
        [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(coarse, blocks, strict=True)]
    )
    np.testing.assert_allclose(between(fine, coarse)["pairs"].value, found)
    np.testing.assert_allclose(between(coarse, np.repeat(np.repeat(coarse, 2, 1), 2, 2))["pairs"].value, 1)


def test_raw_maps_keep_their_sign_and_a_negative_one_still_has_an_order():
    maps = -1 - np.random.default_rng(0).random((2, 5, 5))
    assert between(maps, 2 * maps)["pairs"].value == pytest.approx([1, 1])


def test_constant_and_broken_maps_have_their_status():
    maps = np.random.default_rng(0).normal(size=(3, 5, 5))
    other = maps.copy()
    other[0], other[1, 2, 2] = 0.3, np.nan
    assert between(maps, other)["pairs"].status.tolist() == ["degenerate", "failed", "ok"]


def test_maps_of_different_images_agree_by_chance_about_zero():
    maps = np.random.default_rng(4).normal(size=(60, 7, 7))
    found = between(maps, maps)
    np.testing.assert_allclose(found["pairs"].value, 1)
    assert abs(found["between-images"].value.mean()) < 4 / np.sqrt(60 * 8 * 48)
