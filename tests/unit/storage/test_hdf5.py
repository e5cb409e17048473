"""Stores come back as they went, in any order of ids, to many readers at once; a broken one is refused and says what to do."""

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from gradfaith.errors import BrokenStore, CannotWrite
from gradfaith.storage.hdf5 import ImageStore, ImageWriter, MapStore, MapWriter
from gradfaith.storage.map_info import MapInfo, status_of

ROWS = pd.DataFrame({"image_id": ["b", "a", "b"], "target": [1, 0, 2], "role": ["predicted", "both", "true"]})
INFO = MapInfo("gradcam", "layer4", "native", False, 2, "log_odds")
DRAW = np.random.default_rng(0)
MAPS = DRAW.normal(size=(3, 2, 4, 5)).astype(np.float32)  # (rows, copies, h, w)


@pytest.fixture
def maps_file(tmp_path: Path) -> Path:
    with MapWriter(tmp_path / "maps.h5", ROWS, {"code": "c0"}) as writer:
        writer.put("cam", INFO, 1, MAPS[1:], 0.4)
        writer.put("cam", INFO, 0, MAPS[:1], 0.1)
    return tmp_path / "maps.h5"


def refused(path: Path, kind: type[ImageStore | MapStore]) -> str:
    with pytest.raises(BrokenStore) as refusal:
        kind(path)
    assert str(path) in refusal.value.problem
    assert f"Replace {path}" in refusal.value.fix
    return refusal.value.problem


def test_maps_come_back_bit_by_bit_with_all_that_is_known_of_them(maps_file: Path) -> None:
    with MapStore(maps_file) as maps:
        assert maps.methods == {"cam": INFO}
        assert maps.stamp == {"code": "c0"}
        pd.testing.assert_frame_equal(maps.rows[list(ROWS)], ROWS, check_dtype=False)
        np.testing.assert_array_equal(np.stack([maps.maps("cam", copy) for copy in (0, 1)], axis=1), MAPS)
        np.testing.assert_array_equal(maps.maps("cam", 1, slice(1, 3)), MAPS[1:, 1])
        for rows in ([2, 0, 2], [1, 2], [0, 2], []):
            np.testing.assert_array_equal(maps.maps("cam", 1, np.array(rows, dtype=np.int64)), MAPS[rows, 1])
        np.testing.assert_allclose(maps.seconds("cam"), [0.1, 0.2, 0.2], rtol=1e-6)


def test_notes_are_kept_by_row_and_missing_where_nothing_was_said(tmp_path: Path) -> None:
    with MapWriter(tmp_path / "m.h5", ROWS, {}) as writer:
        writer.put("cam", INFO, 1, MAPS[1:], 0.4, {"delta": np.array([0.5, 0.25], dtype=np.float32)})
        writer.put("cam", INFO, 0, MAPS[:1], 0.1)
        writer.put("plain", INFO, 0, MAPS, 0.1)
    with MapStore(tmp_path / "m.h5") as maps:
        np.testing.assert_array_equal(maps.notes("cam")["delta"], [np.nan, 0.5, 0.25])
        assert maps.notes("plain") == {}


def test_constant_and_broken_maps_are_kept_as_they_came_with_their_status(tmp_path: Path) -> None:
    maps = np.stack([MAPS[0, :1]] * 7)  # (7, 1, 4, 5)
    maps[1], maps[2] = 0, -3.5
    maps[3, 0, 2, 2], maps[4, 0, 0, 0] = np.nan, np.inf
    maps[5], maps[6] = np.nan, 7e-20 * MAPS[0, 0]
    want = ["ok", "degenerate", "degenerate", "failed", "failed", "failed", "ok"]
    rows = pd.DataFrame({"image_id": list("abcdefg"), "target": 0, "role": "both"})
    with MapWriter(tmp_path / "m.h5", rows, {}) as writer:
        writer.put("cam", MapInfo("gradcam", "x", "native", False, 1), 0, maps, 1.0)
    with MapStore(tmp_path / "m.h5") as store:
        assert list(store.status("cam", 0)) == want
        np.testing.assert_array_equal(store.maps("cam", 0), maps[:, 0])
    assert status_of(maps).shape == (7, 1)


def test_images_come_in_the_order_they_are_asked_for(images_file: Path) -> None:
    with ImageStore(images_file) as images:
        whole = images.pixels(images.ids)
        asked = ["image-07", "image-02", "image-07", "image-23", "image-00"]
        np.testing.assert_array_equal(images.pixels(asked), whole[[7, 2, 7, 23, 0]])
        masks, known = images.mask("evidence", asked)
        everything, _ = images.mask("evidence", images.ids)
        np.testing.assert_array_equal(masks, everything[[7, 2, 7, 23, 0]])
        assert known.tolist() == [masks[row].any() for row in range(5)]
        assert (whole[7, 0][masks[0]] >= 120).all()
        assert images.size == (32, 32)


def test_a_region_that_no_image_has_is_nowhere_known(images_file: Path) -> None:
    with ImageStore(images_file) as images:
        masks, known = images.mask("shortcut", ["image-00", "image-01"])
    assert masks.shape == (2, 32, 32)
    assert not masks.any()
    assert not known.any()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_store_is_refused(maps_file: Path, share: float) -> None:
    whole = maps_file.read_bytes()
    maps_file.write_bytes(whole[: int(len(whole) * share)])
    refused(maps_file, MapStore)


def test_rotten_bytes_inside_a_store_are_refused_when_they_are_read(images_file: Path, tmp_path: Path) -> None:
    with h5py.File(images_file) as file:
        chunk = file["pixels"].id.get_chunk_info(3)
    rotten = bytearray(images_file.read_bytes())
    rotten[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    (tmp_path / "images.h5").write_bytes(rotten)
    with ImageStore(tmp_path / "images.h5") as images:
        row = chunk.chunk_offset[0]
        with pytest.raises(BrokenStore, match=r"images\.h5"):
            images.pixels([images.ids[row]])
        assert images.pixels([images.ids[(row + 1) % 24]]).any()


def everything_in(path: Path) -> str:
    """Return all that a reader can get from a store, as text."""
    if path.name == "images.h5":
        with ImageStore(path) as images:
            masks = [[part.tobytes() for part in images.mask(region, images.ids)] for region in images.regions]
            return repr(
                (
                    images.stamp,
                    images.ids,
                    images.mean,
                    images.std,
                    images.digest,
                    images.pixels(images.ids).tobytes(),
                    masks,
                )
            )
    with MapStore(path) as maps:
        found = [
            (
                label,
                info,
                [(maps.maps(label, copy).tobytes(), list(maps.status(label, copy))) for copy in range(info.copies)],
                {name: values.tobytes() for name, values in maps.notes(label).items()},
                maps.seconds(label).tobytes(),
            )
            for label, info in maps.methods.items()
        ]
        return repr((maps.stamp, maps.rows.to_dict(), found))


@pytest.mark.parametrize("store", ["maps", "images"])
def test_a_flipped_bit_is_refused_or_changes_nothing(
    maps_file: Path, images_file: Path, tmp_path: Path, store: str
) -> None:
    whole = (maps_file if store == "maps" else images_file).read_bytes()
    damaged = tmp_path / "damaged" / f"{store}.h5"
    damaged.parent.mkdir()
    damaged.write_bytes(whole)
    intact, caught, draw = everything_in(damaged), 0, np.random.default_rng(5)
    for place in draw.integers(len(whole), size=300):
        rotten = bytearray(whole)
        rotten[place] ^= 1 << int(draw.integers(8))
        damaged.write_bytes(rotten)
        try:
            assert everything_in(damaged) == intact, f"byte {place}"
        except BrokenStore:
            caught += 1
    assert caught > 150


def test_names_and_notes_in_any_script_come_back(tmp_path: Path) -> None:
    rows = ROWS.assign(image_id=["Lunge-ä", "肺", "b" * 300])
    with MapWriter(tmp_path / "m.h5", rows, {"note": "ö" * 70_000}) as writer:
        writer.put("cam", INFO, 0, MAPS, 0.1)
    with MapStore(tmp_path / "m.h5") as maps:
        assert list(maps.rows["image_id"]) == list(rows["image_id"])
        assert maps.stamp == {"note": "ö" * 70_000}


def test_foreign_old_unfinished_and_missing_stores_are_refused(maps_file: Path, tmp_path: Path) -> None:
    assert "expected images" in refused(maps_file, ImageStore)
    for name, value, said in (("format", 99, "format 99"), ("complete", False, "complete False")):
        with h5py.File(maps_file, "r+") as file:
            kept = file.attrs[name]
            file.attrs[name] = value
        assert said in refused(maps_file, MapStore)
        with h5py.File(maps_file, "r+") as file:
            file.attrs[name] = kept
    MapStore(maps_file).__exit__()
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    assert "kind None" in refused(tmp_path / "foreign.h5", MapStore)
    (tmp_path / "text.h5").write_text("no store")
    refused(tmp_path / "text.h5", MapStore)
    with pytest.raises(BrokenStore, match="there is no file"):
        MapStore(tmp_path / "nowhere.h5")


def test_an_exception_leaves_neither_store_nor_draft(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), MapWriter(tmp_path / "m.h5", ROWS, {}) as writer:
        writer.put("cam", INFO, 0, MAPS, 1.0)
        _ = 1 / 0
    assert not os.listdir(tmp_path)


def test_maps_with_gaps_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(BrokenStore, match=r"only \{'cam': 2\}"), MapWriter(tmp_path / "m.h5", ROWS, {}) as writer:
        writer.put("cam", INFO, 0, MAPS[:2], 1.0)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(("put", "describe"), [([0], True), ([0, 1], False)])
def test_images_with_gaps_are_not_kept(tmp_path: Path, put: list[int], describe: bool) -> None:
    with (
        pytest.raises(BrokenStore, match="not written"),
        ImageWriter(tmp_path / "i.h5", ["a", "b"], [], (1, 4, 4), {}) as writer,
    ):
        for row in put:
            writer.put(row, np.ones((1, 4, 4), dtype=np.uint8), {})
        if describe:
            writer.describe(mean=0.5, std=0.5, digest="d")
    assert not os.listdir(tmp_path)


def write_maps(path: Path) -> None:
    rows = pd.DataFrame({"image_id": [str(n) for n in range(256)], "target": 0, "role": "both"})
    noise = np.random.default_rng(0).normal(size=(256, 1, 32, 32)).astype(np.float32)
    with MapWriter(path, rows, {}) as writer:
        for start in range(0, 256, 32):
            writer.put("cam", MapInfo("gradcam", "x", "input", False, 1), start, noise[start : start + 32], 1.0)


def write_many_names(path: Path) -> None:
    rows = pd.DataFrame({"image_id": [f"{n:0200d}" for n in range(4000)]})
    with MapWriter(path, rows, {}):
        pass


def write_images(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 1, 64, 64), dtype=np.uint8)
    with ImageWriter(path, [str(n) for n in range(64)], ["evidence"], (1, 64, 64), {}) as writer:
        for row in range(64):
            writer.put(row, noise[row], {})
        writer.describe(mean=0.5, std=0.5, digest="d")


@pytest.mark.parametrize("write", [write_maps, write_many_names, write_images])
def test_a_full_disk_leaves_no_store(full, write) -> None:
    folder, limit = full
    with limit(), pytest.raises(CannotWrite):
        write(folder / "store.h5")
    assert not [name for name in os.listdir(folder) if "store" in name]


def test_a_job_that_met_a_full_disk_ends_in_order(tmp_path: Path) -> None:
    """HDF5 must not fall over its unwritten file when the interpreter ends."""
    script = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_hdf5 import Path, write_maps
from gradfaith.errors import CannotWrite
resource.setrlimit(resource.RLIMIT_FSIZE, (98304, 98304))
try:
    write_maps(Path({str(tmp_path)!r}) / "m.h5")
except CannotWrite as refusal:
    sys.exit(str(refusal))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.startswith("CannotWrite: ")
    assert not os.listdir(tmp_path)


def read_sum(path: str) -> float:
    with MapStore(path) as first, MapStore(path) as second:
        return float(first.maps("cam", 0).sum() + second.maps("cam", 1).sum())


def test_readers_do_not_disturb_each_other(maps_file: Path) -> None:
    with MapStore(maps_file) as held, ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        assert set(pool.map(read_sum, [str(maps_file)] * 4)) == {read_sum(str(maps_file))}
        np.testing.assert_array_equal(held.maps("cam", 0), MAPS[:, 0])
