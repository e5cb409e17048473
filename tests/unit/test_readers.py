"""Readers take what they know and refuse the rest by name: unreadable images, masks of another size, no groups."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from gradfaith.data import manifest
from gradfaith.data.decode import decode, decode_mask
from gradfaith.data.readers import folder, iqothnccd
from gradfaith.errors import DatasetInvalid, MaskSizeMismatch, Refusal, UnreadableImage

NOISE = np.random.default_rng(0).integers(1, 255, (12, 16), dtype=np.uint8)


def draw(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(NOISE).save(path)
    return path


def refusal(kind: type[Refusal], reader, raw: Path | None, options) -> str:
    with pytest.raises(kind) as raised:
        for record in reader.index(raw, options):
            reader.read(raw, options, record, None)
    return raised.value.found


def test_grey_and_colour_are_decoded_as_asked(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png")
    np.testing.assert_array_equal(decode(path, 1), NOISE)
    assert decode(path, 3).shape == (12, 16, 3)


def test_what_is_no_8_bit_image_is_refused(tmp_path: Path) -> None:
    whole = draw(tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(NOISE.astype(np.uint16) * 200).save(tmp_path / "deep.png")
    Image.fromarray(NOISE.astype(np.uint16) * 200).save(tmp_path / "deep.tif")
    Image.fromarray(NOISE.astype(np.float32)).save(tmp_path / "float.tif")
    cv2.imwrite(str(tmp_path / "deep colour.png"), np.stack([NOISE.astype(np.uint16) * 200] * 3, axis=-1))
    for name in ("cut.png", "text.png", "deep.png", "deep colour.png", "deep.tif", "float.tif", "missing.png"):
        with pytest.raises(UnreadableImage, match=name):
            decode(tmp_path / name, 1)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    image, mask = draw(tmp_path / "a.png"), tmp_path / "mask.png"
    Image.fromarray(NOISE[:, :-1]).save(mask)
    with pytest.raises(MaskSizeMismatch, match=r'mask of "a\.png" is 15 x 12, its image is 16 x 12') as raised:
        decode_mask(mask, image, (12, 16))
    assert str(mask) in raised.value.then


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of three images, one with a mask, with its patients."""
    for name in ("sick/a.png", "sick/b.jpg", "well/c.png", "masks/sick/a.png", ".cache/d.png"):
        draw(tmp_path / name)
    (tmp_path / "sick/notes.txt").write_text("not an image")
    (tmp_path / "groups.csv").write_text(
        "image,patient\nsick/a.png,p1\nsick/b.jpg,p1\nwell/c.png,p2\n", encoding="utf-8-sig"
    )
    return tmp_path


def test_a_folder_s_images_have_labels_patients_and_masks(own: Path) -> None:
    options = folder.Options()
    found = list(folder.index(own, options))
    assert [(one.image_id, one.label, one.group, one.evidence) for one in found] == [
        ("sick/a.png", "sick", "p1", "mask"), ("sick/b.jpg", "sick", "p1", "none"), ("well/c.png", "well", "p2", "none"),
    ]  # fmt: skip
    picture = folder.read(own, options, found[0], None)
    np.testing.assert_array_equal(picture.pixels, NOISE)
    assert picture.masks["evidence"].all()


def test_groups_that_are_missing_or_incomplete_are_refused(own: Path, tmp_path: Path) -> None:
    (own / "groups.csv").write_text("image,patient\nsick/a.png,p1\n")
    assert 'no line for "sick/b.jpg"' in refusal(DatasetInvalid, folder, own, folder.Options())
    (own / "groups.csv").write_text("file;who\n")
    assert "has the columns file;who" in refusal(DatasetInvalid, folder, own, folder.Options())
    (own / "groups.csv").unlink()
    assert "groups.csv is not there" in refusal(DatasetInvalid, folder, own, folder.Options())
    alone = list(folder.index(own, folder.Options(one_image_per_patient=True)))
    assert len({one.group for one in alone}) == 3
    assert "is not there" in refusal(DatasetInvalid, folder, tmp_path / "nowhere", folder.Options())
    assert "is not there" in refusal(DatasetInvalid, folder, None, folder.Options())


def release(raw: Path, *names: str) -> Path:
    for name in names:
        draw(raw / name)
    lines = [f"{Path(name).name}\tG{place // 2}" for place, name in enumerate(names)]
    (raw / "groups.tsv").write_text("\n".join(["name\tgroup", *lines]) + "\n")
    return raw


@pytest.mark.parametrize(
    "names",
    [
        (
            "Bengin cases/Bengin case (1).jpg",
            "Malignant cases/Malignant case (12).jpg",
            "Normal cases/Normal case (3).jpg",
        ),
        ("benign/Bengin case (1).jpg", "malignant/Malignant case (12).jpg", "normal/Normal case (3).jpeg"),
        ("benign/Benign case (1).jpg", "malignant/Malignant case (12).jpg", "normal/Normal case (3).jpg"),
    ],
)
def test_the_release_is_read_in_both_of_its_spellings(tmp_path: Path, names: tuple[str, ...]) -> None:
    raw, options = release(tmp_path, *names), iqothnccd.Options()
    found = manifest.build(iqothnccd, raw, options, ["normal", "benign", "malignant"])
    assert found["label"].tolist() == ["benign", "malignant", "normal"]
    assert found["group"].tolist() == ["G0", "G0", "G1"]
    assert set(found["group_kind"]) == {"inferred"}
    assert set(found["evidence"]) == {"none"}


@pytest.mark.parametrize(
    "name", ["vertical_flip (14).jpg", "Normal case (3) copy.jpg", "Normal case (3).png", "Normal case (3).JPG"]
)
def test_augmented_and_renamed_files_are_refused_and_never_passed_over(tmp_path: Path, name: str) -> None:
    raw = release(tmp_path, "Normal cases/Normal case (1).jpg", f"Normal cases/{name}")
    assert f"Normal cases/{name}" in refusal(DatasetInvalid, iqothnccd, raw, iqothnccd.Options())


def test_the_release_without_groups_is_refused(tmp_path: Path) -> None:
    raw = release(tmp_path, "Normal cases/Normal case (1).jpg")
    draw(raw / "Normal cases/Normal case (2).jpg")
    assert 'no line for "Normal case (2).jpg"' in refusal(DatasetInvalid, iqothnccd, raw, iqothnccd.Options())
    (raw / "groups.tsv").write_text("name,group\n")
    assert "has the columns name,group" in refusal(DatasetInvalid, iqothnccd, raw, iqothnccd.Options())
    (raw / "groups.tsv").unlink()
    assert "groups.tsv is not there" in refusal(DatasetInvalid, iqothnccd, raw, iqothnccd.Options())
    assert "is not there" in refusal(DatasetInvalid, iqothnccd, None, iqothnccd.Options())


def test_the_miniature_of_the_release_is_indexed(root: Path, tmp_path: Path) -> None:
    mini = root.parent / "shared/data/iqothnccd-mini"
    if not (mini / "manifest.csv").is_file():
        pytest.skip("no miniature of IQ-OTH/NCCD lies beside the repository")
    for place in mini.iterdir():
        (tmp_path / place.name).symlink_to(place)
    with (mini / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    groups = {Path(row["file"]).name: row["inferred_group"] for row in rows}
    (tmp_path / "groups.tsv").write_text(
        "\n".join(["name\tgroup", *("\t".join(pair) for pair in groups.items())]) + "\n"
    )
    found = manifest.build(iqothnccd, tmp_path, iqothnccd.Options(), ["normal", "benign", "malignant"]).set_index(
        "file"
    )
    assert len(found) == len(rows) == 77
    for row in rows:
        one = found.loc[row["file"]]
        assert (one["label"], one["group"], one["sha256"]) == (row["label"], row["inferred_group"], row["sha256"])
        assert (one["width"], one["height"]) == (int(row["width"]), int(row["height"]))
    assert found["pixel_hash"].duplicated().sum() >= 5  # the release's own exact duplicates
