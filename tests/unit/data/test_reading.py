"""Images are read in order, few at a time, and none is dropped in silence; an edited raw file is noticed, a touched one is not."""

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradfaith.config.dataset import Source
from gradfaith.data import manifest
from gradfaith.data.fetch.dataset_files import fetch
from gradfaith.data.raw_files import RawData, edits_digest
from gradfaith.data.readers import folder
from gradfaith.data.readers.contract import IMAGES_PER_THREAD, map_images
from gradfaith.errors import BrokenDocument, DatasetInvalid, UnreadableImage

OPTIONS = folder.Options(one_image_per_patient=True)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for number in range(30):
        path = tmp_path / "raw" / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 9), number, np.uint8)).save(path)
    return tmp_path / "raw"


def wanted(raw: Path):
    return [(record, None) for record in folder.index(raw, OPTIONS)]


def test_results_come_in_order_whatever_the_threads(raw: Path) -> None:
    def slow_first(record, picture):
        time.sleep(0.02 if record.file.endswith("00.png") else 0)
        return int(picture.pixels[0, 0])

    one = [value for _, value in map_images(folder, raw, OPTIONS, wanted(raw), slow_first, 1)]
    four = [value for _, value in map_images(folder, raw, OPTIONS, wanted(raw), slow_first, 4)]
    assert one == four == [int(record.file[2:4]) for record, _ in wanted(raw)]


def test_few_images_are_under_way_at_a_time(raw: Path) -> None:
    lock, begun, done, most = threading.Lock(), 0, 0, 0

    def counted(_record, _picture):
        nonlocal begun, most
        with lock:
            begun += 1
            most = max(most, begun - done)

    for _ in map_images(folder, raw, OPTIONS, wanted(raw), counted, 2):
        done += 1
    assert done == 30
    assert most <= 2 * IMAGES_PER_THREAD + 1


def test_unreadable_files_are_named_and_left_out_only_where_that_is_allowed(raw: Path) -> None:
    for name in ("a/00.png", "b/01.png"):
        (raw / name).write_bytes(b"no image")
    with pytest.raises(UnreadableImage, match=r"2 of 30 images .*max_bad_files is 1") as refusal:
        manifest.build_manifest(folder, raw, OPTIONS, ["a", "b"], max_bad=1)
    assert "00.png" in refusal.value.problem
    assert "01.png" in refusal.value.problem
    found = manifest.build_manifest(folder, raw, OPTIONS, ["a", "b"], max_bad=2, threads=3).set_index("image_id")
    assert found["status"].value_counts().to_dict() == {"ok": 28, "unreadable": 2}
    assert "00.png" in found.loc["a/00.png", "reason"]
    assert len(manifest.readable_rows(found.reset_index())) == 28


def test_images_without_a_group_are_refused_and_inferred_ones_are_taken(raw: Path) -> None:
    options = folder.Options()
    with pytest.raises(DatasetInvalid, match="30 of 30 images have no patient"):
        manifest.build_manifest(folder, raw, options, ["a", "b"])
    ids = [record.image_id for record in folder.index(raw, options)]
    found = manifest.build_manifest(folder, raw, options, ["a", "b"], groups=dict.fromkeys(ids, "G001"))
    assert set(found["group"]) == {"G001"}
    assert set(found["group_kind"]) == {"inferred"}


def test_an_edit_of_a_fetched_file_is_seen_and_a_touch_or_a_note_is_not(raw: Path, tmp_path: Path) -> None:
    home = tmp_path / "resources/own"
    record, copy = home / "fetched.json", RawData(folder, home / "raw", OPTIONS)
    record_of = fetch([Source(local=str(raw))], home, None, root=tmp_path)
    record.write_text(json.dumps(record_of))
    assert edits_digest(copy, record) == ""
    later = time.time() + 60
    os.utime(home / "raw/a/00.png", (later, later))
    (home / "raw/.DS_Store").write_text("left by a file browser")
    (home / "raw/notes.txt").write_text("seen by a person")
    assert edits_digest(copy, record) == ""
    Image.fromarray(np.full((8, 9), 99, np.uint8)).save(home / "raw/a/00.png")
    os.utime(home / "raw/a/00.png", (later, later))
    changed = edits_digest(copy, record)
    assert changed
    (home / "raw/b/01.png").unlink()
    assert edits_digest(copy, record) not in ("", changed)
    for damage in ("", "{}", "[1]", '{"names": {"a": 1}}', '{"names": 3}'):
        record.write_text(damage)
        with pytest.raises(BrokenDocument, match="is not a record of fetched files"):
            edits_digest(copy, record)
