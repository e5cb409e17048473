"""Near duplicates of the audit: every pair, the most alike first, from tiles that few images fit into."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from gradfaith.data.audit import checks
from gradfaith.data.grouping import similarity
from gradfaith.storage import atomic


def thumbs(count: int) -> np.ndarray:
    """Noise; every image from the tenth on is, with some noise of its own, the one ten before it."""
    draw = np.random.default_rng(count)
    made = draw.integers(0, 200, (count, 128, 128), dtype=np.uint8)
    for row in range(10, count, 10):
        made[row] = made[row - 10] + draw.integers(0, 8, (128, 128), dtype=np.uint8)
    return made


def table(count: int) -> pd.DataFrame:
    rows = np.arange(count)
    names = {"image_id": "i", "pixel_hash": "h", "group": "g"}
    columns = {name: [f"{letter}{row:04d}" for row in rows] for name, letter in names.items()}
    return pd.DataFrame(
        {**columns, "label": np.where(rows % 20, "a", "b"), "part": np.where(rows % 3, "train", "test")}
    )


def test_they_are_the_same_whatever_the_tiles_and_wherever_the_images_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, about = thumbs(90), table(90)
    whole = similarity.standardise(images)
    correlation = whole @ whole.T
    expected = np.argwhere(np.triu(correlation >= checks.NEAR_DUPLICATE_NCC, 1))
    at_once = checks.near_duplicates(images, about)
    assert at_once["pairs"] == len(expected) > 5
    assert {tuple(pair[:2]) for pair in at_once["across_groups"]} == {(f"i{a:04d}", f"i{b:04d}") for a, b in expected}
    values = [pair[2] for pair in at_once["across_groups"]]
    assert values == sorted(values, reverse=True)
    monkeypatch.setattr(checks, "TILE_ROWS", 7)
    on_disk = atomic.ScratchRows(images.shape, images.dtype)
    on_disk[0:90] = images
    assert checks.near_duplicates(on_disk, about) == at_once


def test_what_is_held_does_not_grow_with_the_images() -> None:
    peaks = []
    for count in (256, 1024):
        images = atomic.ScratchRows((count, 128, 128), np.uint8)
        for start in range(0, count, 64):
            images[start : start + 64] = np.random.default_rng(start).integers(0, 255, (64, 128, 128), np.uint8)
        about = table(count)
        tracemalloc.start()
        checks.near_duplicates(images, about)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
