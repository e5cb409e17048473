"""An array in a temporary file is the array, and takes neither memory nor a name."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from gradfaith.errors import CannotWrite
from gradfaith.storage.atomic import FEW_BYTES, ScratchRows, new_rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.bool_])
def test_rows_come_back_in_any_order(dtype: type) -> None:
    draw = np.random.default_rng(0)
    expected, kept = np.zeros((9, 3, 4), dtype), ScratchRows((9, 3, 4), dtype)
    assert len(kept) == 9
    for rows in (slice(0, 4), np.array([8, 5]), np.array([2]), slice(6, 6)):
        values = draw.random(expected[rows].shape) > 0.5 if dtype is np.bool_ else draw.random(expected[rows].shape)
        kept[rows] = expected[rows] = values.astype(dtype)
    for rows in (slice(None), slice(3, 7), np.array([8, 0, 8, 7]), np.zeros(0, dtype=np.int64)):
        np.testing.assert_array_equal(kept[rows], expected[rows])
        assert kept[rows].dtype == dtype


def test_few_bytes_stay_in_memory() -> None:
    small, large = (new_rows((size // 100, 100), np.uint8) for size in (FEW_BYTES, FEW_BYTES + 100))
    assert isinstance(small, np.ndarray)
    assert isinstance(large, ScratchRows)
    assert not large[np.array([7, 0])].any()


def test_the_file_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = ScratchRows((2, 5), np.float32)
    kept[slice(0, 2)] = np.ones((2, 5))
    assert not os.listdir(tmp_path)


def test_a_full_disk_is_named(full, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, limit = full
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    kept = ScratchRows((1000, 1000), np.float64)
    with limit(), pytest.raises(CannotWrite, match="temporary file in"):
        kept[slice(0, 1000)] = np.ones((1000, 1000))
