"""The list of raw files: what is read and nothing else, hashed again only when it changed; of a private dataset without a name."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradfaith.data import raw_files
from gradfaith.data.fit import Harmoniser
from gradfaith.data.manifest import build_manifest, records_by_id
from gradfaith.data.pack import pack_images
from gradfaith.data.private_names import PrivateReader, keyed_hash, read_or_make_key
from gradfaith.data.raw_files import RawData
from gradfaith.data.readers import folder
from gradfaith.errors import BrokenDocument, DatasetInvalid, GradFaithError, NotInStudy, UnreadableImage
from gradfaith.storage.hdf5 import ImageStore

OPTIONS = folder.Options()
PATIENTS = ("Doe-Jane", "Mueller_Hans", "4711223")
LONG_AGO = 10**9


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Images that are named after their patients."""
    lines, place = ["image,patient"], tmp_path / "Saint Elsewhere"
    for number, (label, patient) in enumerate((label, patient) for label in ("ill", "well") for patient in PATIENTS):
        file = place / label / f"{patient} {number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 20 * number, np.uint8)).save(file)
        os.utime(file, (LONG_AGO, LONG_AGO))
        lines.append(f"{file.relative_to(place).as_posix()},{label} {patient}")
    (place / "groups.csv").write_text("\n".join(lines) + "\n")
    os.utime(place / "groups.csv", (LONG_AGO, LONG_AGO))
    return place


@pytest.fixture
def private(raw: Path) -> RawData:
    return RawData(PrivateReader(folder, b"k" * 32), raw, OPTIONS)


def listed(raw: Path, *, remembered: str = "digests.json") -> list[raw_files.ListedFile]:
    return raw_files.list_files(RawData(folder, raw, OPTIONS), raw.parent / remembered)


def test_a_listing_comes_back_and_its_digest_depends_on_content_and_names_only(raw: Path, tmp_path: Path) -> None:
    before = listed(raw)
    raw_files.write_listing(str(tmp_path / "l.tsv"), before)
    assert list(raw_files.read_listing(str(tmp_path / "l.tsv")).values()) == before
    raw.rename(tmp_path / "moved")
    (tmp_path / "moved/.hidden").write_text("x")
    (tmp_path / "moved/ill/note.txt").write_text("x")
    (tmp_path / "moved/ill/Doe-Jane 0.png").touch()
    assert raw_files.listing_digest(listed(tmp_path / "moved")) == raw_files.listing_digest(before)
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(tmp_path / "moved/ill/Doe-Jane 0.png")
    assert raw_files.listing_digest(listed(tmp_path / "moved")) != raw_files.listing_digest(before)


def test_a_file_is_hashed_again_only_when_its_size_or_time_has_changed(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    real = raw_files.hashlib.file_digest
    monkeypatch.setattr(
        raw_files.hashlib, "file_digest", lambda file, name: hashed.append(file.name) or real(file, name)
    )
    first = listed(raw)
    assert len(hashed) == len(first) == 7
    assert listed(raw) == first
    assert len(hashed) == 7
    content = (raw / "ill/Doe-Jane 0.png").read_bytes()
    (raw / "ill/Doe-Jane 0.png").write_bytes(content[:-1] + b"?")  # as long as before
    assert listed(raw) != first
    assert len(hashed) == 8
    listed(raw)
    assert len(hashed) == 9, "changed a moment ago, it may change again within one tick of its time"


def test_a_damaged_memory_of_digests_is_no_error(raw: Path) -> None:
    first = listed(raw)
    for damage in ("", "[]", '{"a": 1}', "\x00", json.dumps({"a": [1, 2]})):
        (raw.parent / "digests.json").write_text(damage)
        assert listed(raw) == first


def test_a_listing_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenDocument, match="cannot be read"):
        raw_files.read_listing(str(tmp_path / "l.tsv"))
    for text in ("", "\n", "\n\n", "id\n", "id\tbytes\tsha256\na\t1\n", f"id\tbytes\tsha256\na\t1\t{'0' * 64}\n"):
        (tmp_path / "l.tsv").write_text(text)
        with pytest.raises(BrokenDocument, match="was changed after it was written"):
            raw_files.read_listing(str(tmp_path / "l.tsv"))


def test_no_flipped_bit_of_a_listing_passes(raw: Path, tmp_path: Path) -> None:
    """Without a digest of its own another SHA-256 went into the manifest, and nobody noticed."""
    path, draw = tmp_path / "l.tsv", np.random.default_rng(300)
    raw_files.write_listing(str(path), listed(raw))
    whole = path.read_bytes()
    for bit in draw.choice(8 * len(whole), 300, replace=False):
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(spoilt)
        with pytest.raises(BrokenDocument, match="--forcerun list_raw"):
            raw_files.read_listing(str(path))
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(BrokenDocument):
            raw_files.read_listing(str(path))


@pytest.mark.parametrize("name", ["a\tb.png", "a\nb.png", "a\x1bb.png"])
def test_a_name_that_cannot_be_shown_is_refused(raw: Path, name: str) -> None:
    (raw / "ill/Doe-Jane 0.png").rename(raw / "ill" / name)
    with pytest.raises(DatasetInvalid, match="cannot be displayed"):
        raw_files.write_listing(str(raw.parent / "l.tsv"), listed(raw))


def test_a_private_dataset_is_read_to_the_same_pixels_without_a_name(
    private: RawData, raw: Path, tmp_path: Path
) -> None:
    files = {file.id: file for file in raw_files.list_files(private, tmp_path / "digests.json")}
    raw_files.write_listing(str(tmp_path / "listing.tsv"), list(files.values()))
    table = build_manifest(private.reader, raw, OPTIONS, ["ill", "well"], listed=files, threads=2)
    plain = build_manifest(folder, raw, OPTIONS, ["ill", "well"], listed={file.id: file for file in listed(raw)})
    same = ["sha256", "pixel_hash", "label", "bytes"]
    assert table[same].equals(plain[same])
    assert table["group"].nunique() == plain["group"].nunique() == 6
    assert set(table["image_id"]) == {keyed_hash(image, b"k" * 32) for image in plain["image_id"]}
    written = table.to_csv() + (tmp_path / "listing.tsv").read_text() + (tmp_path / "digests.json").read_text()
    assert not names_in(written)


def names_in(text: str) -> list[str]:
    return re.findall("|".join((*PATIENTS, "Jane", "Hans", "Elsewhere")), text)


def test_errors_of_a_private_dataset_hold_ids(private: RawData, raw: Path) -> None:
    (raw / "ill/Doe-Jane 0.png").write_bytes(b"no image")
    code = keyed_hash("ill/Doe-Jane 0.png", b"k" * 32)
    with pytest.raises(UnreadableImage) as refusal:
        build_manifest(private.reader, raw, OPTIONS, ["ill", "well"])
    assert code in str(refusal.value)
    assert not names_in(str(refusal.value))
    assert raw_files.find_raw_file(private, code) == raw / "ill/Doe-Jane 0.png"
    with pytest.raises(NotInStudy, match="no raw file has the id"):
        raw_files.find_raw_file(private, "Doe-Jane 0")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: (raw / "groups.csv").write_text(
            "image,patient\nill/Doe-Jane 0.png,Doe-Jane\nill/Doe-Jane 0.png,Mueller_Hans\n"
        ),
        lambda raw: (raw / "groups.csv").write_text("image,patient\nill/Nobody Here.png,Doe-Jane\n"),
        lambda raw: (raw / "ill/Doe-Jane 0.png").rename(raw / "ill/Doe-Jane 0.exe"),
        lambda raw: (raw / "ill/Mueller_Hans 1.png").rename(raw / "Mueller_Hans 1.png"),
    ],
)
def test_no_error_of_the_reader_tells_a_name(private: RawData, raw: Path, spoil) -> None:
    spoil(raw)
    with pytest.raises(GradFaithError) as refusal:
        list(private.reader.index(raw, OPTIONS))
    assert not names_in(str(refusal.value)), refusal.value
    assert "Nobody" not in str(refusal.value)


def test_an_unexpected_error_tells_its_kind_only(raw: Path) -> None:
    class Failing:
        Options = folder.Options

        def index(self, raw: Path, options: object) -> None:
            raise KeyError("Doe-Jane")

    with pytest.raises(DatasetInvalid, match="ended with KeyError") as refusal:
        list(PrivateReader(Failing(), b"k").index(raw, OPTIONS))
    assert not names_in(str(refusal.value))


def test_the_key_is_made_once_for_its_owner_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine/private.key"
    key = read_or_make_key(path)
    assert len(key) == 32
    assert read_or_make_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_or_make_key(tmp_path / "other/private.key") != key
    for damage in (b"", b"\xff", path.read_bytes()[:-2]):
        path.write_bytes(damage)
        with pytest.raises(DatasetInvalid, match="does not contain a secret key"):
            read_or_make_key(path)


def test_records_of_a_private_dataset_can_be_read_without_indexing_first(private: RawData, raw: Path) -> None:
    record = next(iter(records_by_id(private.reader, raw, OPTIONS).values()))
    fresh = PrivateReader(folder, b"k" * 32)
    assert np.array_equal(
        fresh.read(raw, OPTIONS, record, None).pixels, private.reader.read(raw, OPTIONS, record, None).pixels
    )


def test_a_private_store_holds_no_name(private: RawData, raw: Path, tmp_path: Path) -> None:
    table = build_manifest(private.reader, raw, OPTIONS, ["ill", "well"]).assign(part="train")
    path, harmonise = tmp_path / "images.h5", Harmoniser()
    fresh = PrivateReader(folder, b"k" * 32)
    pack_images(str(path), table, fresh, raw, OPTIONS, size=8, fit="pad", channels=1, harmonise=harmonise)
    with ImageStore(path) as store:
        assert store.ids == list(table["image_id"])
    assert not names_in(path.read_bytes().decode("latin-1"))
