"""The shared reading of maps, judged by torch's own interpolation and by hand."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from gradfaith.errors import BrokenStore
from gradfaith.metrics.maps.evaluate import evaluate, resize
from gradfaith.storage.map_info import STATUSES, status_of
from gradfaith.vocabulary import CONSTANT_RANGE

SHAPES = [
    ((7, 7), (224, 224)),
    ((6, 6), (96, 96)),
    ((5, 8), (33, 17)),
    ((40, 31), (16, 50)),
    ((1, 3), (4, 4)),
    ((7, 7), (7, 7)),
]


@pytest.mark.parametrize(("native", "size"), SHAPES)
def test_resizing_agrees_with_torch_interpolate(native, size):
    maps = np.random.default_rng(0).normal(size=(3, *native))
    judge = interpolate(torch.from_numpy(maps)[None], size=size, mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(resize(maps, size), judge.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("native", "size"), SHAPES)
@pytest.mark.parametrize("signed", [False, True])
def test_numpy_and_torch_give_the_same_numbers(native, size, signed):
    maps = np.random.default_rng(1).normal(size=(4, *native)).astype(np.float32)
    ours = evaluate(maps, grid="native", signed=signed, size=size)
    theirs = evaluate(torch.from_numpy(maps), grid="native", signed=signed, size=size)
    assert isinstance(theirs.unit, torch.Tensor)
    assert isinstance(ours.unit, np.ndarray)
    np.testing.assert_array_equal(ours.unit, theirs.unit.numpy())
    np.testing.assert_array_equal(ours.degenerate, theirs.degenerate.numpy())


def test_a_map_of_two_by_two_by_hand():
    maps = np.array([[[0.0, 4.0], [0.0, 4.0]]])
    unit = evaluate(maps, grid="native", signed=False, size=(2, 4)).unit
    np.testing.assert_allclose(unit, [[[0, 0.25, 0.75, 1], [0, 0.25, 0.75, 1]]])


def test_negative_parts_are_read_as_nothing_or_by_size_where_the_study_says_so():
    maps = np.array([[[-4.0, 0.0], [1.0, 2.0]]])
    positive = evaluate(maps, grid="native", signed=True, size=(2, 2)).unit
    absolute = evaluate(maps, grid="native", signed=True, size=(2, 2), reading="absolute").unit
    unsigned = evaluate(maps, grid="native", signed=False, size=(2, 2), reading="absolute").unit
    np.testing.assert_array_equal(positive, [[[0, 0], [0.5, 1]]])
    np.testing.assert_array_equal(absolute, [[[1, 0], [0.25, 0.5]]])
    np.testing.assert_array_equal(unsigned, positive)


@pytest.mark.parametrize("value", [0.0, 1.0, 1000.0, -3.0, 1e-14])
def test_a_constant_map_is_degenerate_and_becomes_zeros(value):
    maps = np.full((1, 7, 7), value, dtype=np.float32)
    unit, degenerate, broken = evaluate(maps, grid="native", signed=False, size=(20, 20))
    assert degenerate.all()
    assert not broken.any()
    assert (unit == 0).all()


def test_a_map_constant_but_for_rounding_is_degenerate_and_a_small_one_is_not():
    rounding = np.full((1, 4, 4), 1000, dtype=np.float32)
    rounding[0, 1, 2] = np.nextafter(np.float32(1000), np.float32(2000))
    small = np.random.default_rng(2).random((1, 4, 4)).astype(np.float32) * 1e-9
    assert evaluate(rounding, grid="native", signed=False, size=(4, 4)).degenerate.all()
    assert not evaluate(small, grid="native", signed=False, size=(4, 4)).degenerate.any()
    assert [STATUSES[found] for found in status_of(np.concatenate([rounding, small]))] == ["degenerate", "ok"]
    assert CONSTANT_RANGE == 1e-6


def test_what_is_constant_as_stored_is_so_as_read_and_not_the_other_way_round():
    """Ranges around the limit, and signed maps of either sign: only the positive part is read."""
    draw = np.random.default_rng(4)
    base = np.array([1.0, -1.0, 0.5, 0.0])[:, None, None] * np.ones((4, 5, 5))
    maps = np.concatenate([base + spread * draw.random(base.shape) for spread in (1e-8, 5e-7, 2e-6, 1.0)])
    stored = status_of(maps.astype(np.float32)) == STATUSES.index("degenerate")
    for signed, reading in ((False, "positive"), (True, "positive"), (True, "absolute")):
        read = evaluate(maps, grid="native", signed=signed, size=(12, 12), reading=reading).degenerate
        assert stored.any()
        assert read[stored].all()
        assert (read & ~stored).any() == (reading == "positive"), "all that is negative says nothing to a metric"


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_is_broken_and_spoils_no_other(wrong):
    maps = np.random.default_rng(3).random((3, 4, 4))
    alone = evaluate(maps[[0, 2]], grid="native", signed=False, size=(9, 9)).unit
    maps[1, 2, 2] = wrong
    unit, degenerate, broken = evaluate(maps, grid="native", signed=False, size=(9, 9))
    assert broken.tolist() == [False, True, False]
    assert not degenerate.any()
    np.testing.assert_array_equal(unit[[0, 2]], alone)
    assert (unit[1] == 0).all()


def test_the_range_is_zero_to_one_after_the_resizing():
    maps = np.random.default_rng(4).random((5, 7, 7)).astype(np.float32)
    unit = evaluate(maps, grid="native", signed=False, size=(30, 40)).unit
    np.testing.assert_array_equal(unit.min(axis=(1, 2)), 0)
    np.testing.assert_array_equal(unit.max(axis=(1, 2)), 1)


def test_half_precision_and_integers_are_read_as_single_precision():
    for kind in (np.float16, np.uint8):
        maps = np.arange(16).reshape(1, 4, 4).astype(kind)
        assert evaluate(maps, grid="native", signed=False, size=(8, 8)).unit.dtype == np.float32


def test_a_map_at_input_size_is_not_resized_and_one_of_another_size_is_refused():
    maps = np.random.default_rng(5).random((1, 6, 6))
    with pytest.raises(BrokenStore, match="6 x 6"):
        evaluate(maps, grid="input", signed=False, size=(8, 8))
    maps[0, 0, 0], maps[0, 0, 1] = 0, 1
    np.testing.assert_array_equal(evaluate(maps, grid="input", signed=False, size=(6, 6)).unit, maps)


def test_the_numpy_path_never_imports_torch():
    code = (
        "import sys, numpy as np, gradfaith.metrics.runners.agreement\n"
        "from gradfaith.metrics.runners.localization import localize\n"
        "from gradfaith.metrics.localization import locacc\n"
        "from gradfaith.metrics.maps.located import Region\n"
        "localize(np.random.rand(2, 3, 3), grid='native', signed=False, size=(6, 6),\n"
        "         regions={'evidence': Region(np.ones((2, 6, 6), bool))}, metrics={'locacc': (locacc, {})})\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
