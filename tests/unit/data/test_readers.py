"""Readers take what they know and refuse the rest by name: unreadable images, masks of another size, no groups."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from releases import NESTED, release

from gradfaith.data.decode import decode
from gradfaith.data.readers import folder, iqothnccd
from gradfaith.errors import DatasetInvalid, GradFaithError, UnreadableImage

NOISE = np.random.default_rng(0).integers(1, 255, (12, 16), dtype=np.uint8)


def draw(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(NOISE).save(path)
    return path


def refusal(kind: type[GradFaithError], reader, raw: Path | None, options) -> str:
    with pytest.raises(kind) as raised:
        for record in reader.index(raw, options):
            reader.read(raw, options, record, None)
    return raised.value.problem


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


def test_a_picture_reads_the_same_however_it_is_kept(tmp_path: Path) -> None:
    colour = Image.fromarray(np.random.default_rng(1).integers(0, 4, (12, 16, 3), dtype=np.uint8) * 80)
    kept = {
        "rgb.png": colour,
        "palette.png": colour.quantize(64),
        "rgba.png": colour.convert("RGBA"),
        "rgb.bmp": colour,
    }
    for name, picture in kept.items():
        picture.save(tmp_path / name)
        np.testing.assert_array_equal(decode(tmp_path / name, 3), np.asarray(colour), err_msg=name)
        np.testing.assert_array_equal(decode(tmp_path / name, 1), np.asarray(colour.convert("L")), err_msg=name)
    Image.fromarray(NOISE).convert("LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(decode(tmp_path / "la.png", 1), NOISE)
    Image.fromarray(NOISE > 99).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(decode(tmp_path / "bits.png", 1), 255 * (NOISE > 99))
    Image.new("CMYK", (16, 12), (0, 255, 255, 0)).save(tmp_path / "ink.tif")
    assert decode(tmp_path / "ink.tif", 3)[0, 0].tolist() == [255, 0, 0]


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
    alone = list(folder.index(own, folder.Options(one_image_per_patient=True)))
    assert len({one.group for one in alone}) == 3
    assert "is not there" in refusal(DatasetInvalid, folder, tmp_path / "nowhere", folder.Options())
    assert "is not there" in refusal(DatasetInvalid, folder, None, folder.Options())


SPELLINGS = [
    "Andr\u00e9",
    "Andre\u0301",
    "Andr\u00e9\u200b",
    "\ufeffAndr\u00e9",
    " Andre\u200d\u0301 ",
    "A\u00adndr\u00e9\ufe0f",
]


def test_spellings_of_one_patient_that_look_the_same_are_one_patient(tmp_path: Path) -> None:
    names = [f"{label}/{number}.png" for number in range(len(SPELLINGS)) for label in ("sick", "well")]
    put(tmp_path, *names, "well/other.png")
    lines = [f'{name},"{SPELLINGS[place // 2]}"' for place, name in enumerate(names)]
    (tmp_path / "groups.csv").write_text("\n".join(["image,patient", *lines, "well/other.png,Andre"]) + "\n")
    found = {record.image_id: record.group for record in folder.index(tmp_path, folder.Options())}
    assert found == {**dict.fromkeys(names, "Andr\u00e9"), "well/other.png": "Andre"}


def test_a_patient_without_a_visible_character_is_refused(own: Path) -> None:
    (own / "groups.csv").write_text("image,patient\nsick/a.png,p1\nsick/b.jpg,\u200b\u2060\nwell/c.png,p2\n")
    said = refusal(DatasetInvalid, folder, own, folder.Options())
    assert "line 3: the patient '\\u200b\\u2060' has no visible character" in said


def put(raw: Path, *names: str) -> Path:
    for name in names:
        draw(raw / name)
    return raw


def test_groups_stay_open_only_where_no_table_says_them(own: Path) -> None:
    options = folder.Options()
    assert {(one.group, one.group_kind) for one in folder.index(own, options)} == {("p1", "patient"), ("p2", "patient")}
    (own / "groups.csv").unlink()
    assert {(one.group, one.group_kind) for one in folder.index(own, options)} == {("", "inferred")}


def test_boxes_are_filled_where_they_touch_and_joined(own: Path) -> None:
    (own / "boxes.csv").write_text("image,x,y,width,height\nwell/c.png,1,2,3,4\nwell/c.png,10.5,0,1,1.2\n\n")
    found = list(folder.index(own, folder.Options()))
    assert [one.evidence for one in found] == ["mask", "none", "box"]
    assert [len(one.lesions) for one in found] == [0, 0, 2]
    expected = np.zeros((12, 16), dtype=bool)
    expected[2:6, 1:4] = expected[0:2, 10:12] = True
    np.testing.assert_array_equal(folder.read(own, folder.Options(), found[2], None).masks["evidence"], expected)
    (own / "boxes.csv").write_text("image,x,y,width,height\nwell/c.png,0,0,16,12\n")  # a changed table is read again
    assert folder.read(own, folder.Options(), found[2], None).masks["evidence"].all()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("well/c.png,14,0,3,1", "exceeds"),
        ("well/c.png,0,0,1,13", "exceeds"),
        ("well/c.png,-1,0,2,2", "is not a box"),
        ("well/c.png,0,0,0,2", "is not a box"),
        ("well/c.png,0,0,nan,2", "is not a box"),
        ("well/c.png,0,0,inf,2", "is not a box"),
        ("well/c.png,a,0,2,2", "is not a box"),
        ("well/c.png,0,0,2", "does not fill"),
        ("well/c.png,0,0,2,2,2", "does not fill"),
        ("well/d.png,0,0,2,2", 'a line for "well/d.png"'),
        ("sick/a.png,0,0,2,2", "has a mask"),
    ],
)
def test_boxes_that_are_none_are_refused(own: Path, line: str, said: str) -> None:
    (own / "boxes.csv").write_text(f"image,x,y,width,height\n{line}\n")
    found = refusal(DatasetInvalid, folder, own, folder.Options())
    assert said in found
    assert "line 2" in found or line.split(",", maxsplit=1)[0] in found


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sick/scan.dcm", '"sick/scan.dcm"'),
        ("sick/more/e.png", '"sick/more"'),
        ("loose.png", '"loose.png"'),
        ("odd/readme.txt", '"odd"'),
        ("masks/sick/z.png", '"sick/z.png" in '),
        ("masks/sick/a.tif", '"sick/a.tif" in '),
        ("sick/a.tif", "sick/a.png and sick/a.tif"),
    ],
)
def test_nothing_in_a_folder_is_dropped_in_silence(own: Path, name: str, said: str) -> None:
    draw(own / "x.png").rename(own / ".x")
    (own / name).parent.mkdir(exist_ok=True)
    (own / ".x").rename(own / name)
    found = refusal(DatasetInvalid, folder, own, folder.Options())
    assert said in found


def test_tables_that_name_other_images_or_cannot_be_read_are_refused(own: Path, tmp_path_factory) -> None:
    table, options = own / "groups.csv", folder.Options()
    whole = table.read_text(encoding="utf-8-sig")
    for text, said in (
        (whole + "sick/z.png,p9\n", 'a line for "sick/z.png"'),
        (whole + "sick/a.png,p9\n", "line 5"),
        (whole + "sick/z.png,\n", "line 5"),
        (whole.replace("p1", "M\u00fcller"), "cannot be read as a table"),
        ("", "has the columns none"),
    ):
        table.write_text(text, encoding="latin-1")
        found = refusal(DatasetInvalid, folder, own, options)
        assert said in found
        assert "groups.csv" in found
    assert "has no class folders" in refusal(DatasetInvalid, folder, tmp_path_factory.mktemp("bare"), options)


def test_images_stand_in_the_order_people_count(tmp_path: Path) -> None:
    put(tmp_path, *(f"{folder}/{name}.png" for folder in ("b10", "b9") for name in ("x10", "x9", "x09")))
    found = [one.file for one in folder.index(tmp_path, folder.Options())]
    assert found == [f"{folder}/{name}.png" for folder in ("b9", "b10") for name in ("x09", "x9", "x10")]


BOTH_SPELLINGS = [
    ("Bengin cases/Bengin case (1).jpg", "Malignant cases/Malignant case (12).jpg", "Normal cases/Normal case (3).jpg"),
    ("benign/Bengin case (1).jpg", "malignant/Malignant case (12).jpg", "normal/Normal case (3).jpeg"),
    ("BENIGN CASES/Benign case (1).jpg", "malignant/Malignant case (12).jpg", "normal/Normal case (3).jpg"),
]


@pytest.mark.parametrize("names", BOTH_SPELLINGS)
@pytest.mark.parametrize("nested", ["", "a", "a/b/c"])
def test_the_release_is_read_in_both_of_its_spellings(tmp_path: Path, names: tuple[str, ...], nested: str) -> None:
    put(tmp_path / nested, *names)
    found = list(iqothnccd.index(tmp_path, iqothnccd.Options()))
    assert [one.label for one in found] == ["benign", "malignant", "normal"]
    assert [one.image_id for one in found] == list(names), "an id says nothing of where the archive was unpacked"
    assert [one.file for one in found] == [(Path(nested) / name).as_posix() for name in names]
    assert {(one.group, one.group_kind, one.evidence) for one in found} == {("", "inferred", "none")}


def test_a_fabricated_release_is_indexed_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    truth = release(tmp_path, patients=4, per_patient=3)
    put(tmp_path, f"{NESTED}/Test cases/whoever (1).jpg", "__MACOSX/Normal cases/Normal case (1).jpg")
    found = list(iqothnccd.index(tmp_path, iqothnccd.Options()))
    assert [(one.file, one.label) for one in found] == [(one.file, one.label) for one in truth]
    assert len(found) == 36
    assert iqothnccd.read(tmp_path, iqothnccd.Options(), found[0], None).pixels.shape == (48, 48)


@pytest.mark.parametrize(
    "name",
    [
        "vertical_flip (14).jpg", "Normal case (3) copy.jpg", "Normal case (3).png", "Normal case (3).JPG",
        "more/Normal case (3).jpg", "Normal case (\u0663).jpg",
    ],
)  # fmt: skip
def test_augmented_and_renamed_files_are_refused_and_never_passed_over(tmp_path: Path, name: str) -> None:
    raw = put(tmp_path, "Normal cases/Normal case (1).jpg", f"Normal cases/{name}")
    found = refusal(DatasetInvalid, iqothnccd, raw, iqothnccd.Options())
    assert f"Normal cases/{name.split('/', maxsplit=1)[0]}" in found
    assert "is not named" in found


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Bengin cases/Normal case (2).jpg", "is named normal, but is in the folder of benign"),
        ("Normal cases/Normal case (1).jpeg", "are the same slice, normal 1"),
        ("normal/Normal case (1).jpg", "are the same slice, normal 1"),
        ("copy/Normal cases/Normal case (2).jpg", "2 folders"),
        ("Augmented/flip (1).jpg", '"Augmented/flip (1).jpg" is not named'),
        ("loose.png", '"loose.png" is not named'),
    ],
)
def test_what_would_put_a_slice_on_both_sides_is_refused(tmp_path: Path, name: str, said: str) -> None:
    raw = put(tmp_path, "Normal cases/Normal case (1).jpg", name)
    assert said in refusal(DatasetInvalid, iqothnccd, raw, iqothnccd.Options())


def test_a_folder_without_the_release_is_refused(tmp_path: Path) -> None:
    assert "there are no folders" in refusal(DatasetInvalid, iqothnccd, tmp_path, iqothnccd.Options())
    put(tmp_path, "a/b/c/d/Normal cases/Normal case (1).jpg")
    assert "there are no folders" in refusal(DatasetInvalid, iqothnccd, tmp_path, iqothnccd.Options())
    assert "is not there" in refusal(DatasetInvalid, iqothnccd, None, iqothnccd.Options())


def test_the_miniature_of_the_release_is_indexed(root: Path, tmp_path: Path) -> None:
    mini = root.parent / "shared/data/iqothnccd-mini"
    if not (mini / "manifest.csv").is_file():
        pytest.skip("no miniature of IQ-OTH/NCCD lies beside the repository")
    for place in mini.iterdir():
        (tmp_path / place.name).symlink_to(place)
    with (mini / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = [
        (one, iqothnccd.read(tmp_path, iqothnccd.Options(), one, None).pixels)
        for one in iqothnccd.index(tmp_path, iqothnccd.Options())
    ]
    known = {row["file"]: row for row in rows}
    assert len(found) == len(rows) == 77
    for one, pixels in found:
        row = known[one.file]
        assert (one.label, pixels.shape) == (row["label"], (int(row["height"]), int(row["width"])))
    assert len({pixels.tobytes() for _, pixels in found}) <= 77 - 5  # the release's own exact duplicates
