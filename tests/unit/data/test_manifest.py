"""The manifest tells every image by its pixels, and every lesion by its size; classes that do not fit are refused."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gradfaith.data import manifest
from gradfaith.data.audit.checks import count_images, exact_duplicates
from gradfaith.data.raw_files import RawData, list_files
from gradfaith.data.readers import folder
from gradfaith.errors import DatasetInvalid
from gradfaith.stats.estimates import lesion_size
from gradfaith.storage import parquet

OPTIONS = folder.Options(one_image_per_patient=True)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two classes; a copy under another name and format, one mask of 6 pixels, one that is empty."""
    draw = np.random.default_rng(0)
    for place in ("benign", "normal", "masks/benign"):
        (tmp_path / place).mkdir(parents=True)
    for name in ("benign/a.png", "benign/b.png", "normal/c.png"):
        Image.fromarray(draw.integers(0, 255, (10, 12), dtype=np.uint8)).save(tmp_path / name)
    Image.open(tmp_path / "normal/c.png").save(tmp_path / "normal/d.bmp")
    mask = np.zeros((10, 12), dtype=np.uint8)
    Image.fromarray(mask).save(tmp_path / "masks/benign/b.png")
    mask[2:4, 3:6] = 255
    Image.fromarray(mask).save(tmp_path / "masks/benign/a.png")
    return tmp_path


def built(raw: Path, *classes: str) -> pd.DataFrame:
    listed = {file.id: file for file in list_files(RawData(folder, raw, OPTIONS), raw / ".digests.json")}
    names = classes or ("normal", "benign")
    return manifest.build_manifest(folder, raw, OPTIONS, names, listed=listed).set_index("image_id")


def test_hashes_are_of_the_file_and_of_its_pixels(raw: Path) -> None:
    found = built(raw)
    assert found.loc["benign/a.png", "sha256"] == hashlib.sha256((raw / "benign/a.png").read_bytes()).hexdigest()
    assert found.loc["normal/c.png", "pixel_hash"] == found.loc["normal/d.bmp", "pixel_hash"]
    assert found.loc["normal/c.png", "sha256"] != found.loc["normal/d.bmp", "sha256"]
    assert found["pixel_hash"].nunique() == 3
    assert set(parquet.MANIFEST) == {"image_id", *found}


def test_a_patient_in_two_spellings_is_one_group(raw: Path) -> None:
    """NFC in one hospital's list, NFD and a zero-width space in another's."""
    spellings = {
        "benign/a.png": "Zo\u00eb",
        "benign/b.png": "Zoe\u0308",
        "normal/c.png": "Zo\u00eb\u200b",
        "normal/d.bmp": "p2",
    }
    text = "".join(f"{image},{patient}\n" for image, patient in spellings.items())
    (raw / "groups.csv").write_text(f"image,patient\n{text}", encoding="utf-8")
    found = built(raw)
    assert found["group"].to_dict() == {**dict.fromkeys(list(spellings)[:3], "Zo\u00eb"), "normal/d.bmp": "p2"}
    assert count_images(found.reset_index())["groups"] == 2


def test_the_same_bytes_in_another_shape_are_another_image(raw: Path) -> None:
    Image.fromarray(np.zeros((10, 12), dtype=np.uint8)).save(raw / "normal/e.png")
    Image.fromarray(np.zeros((12, 10), dtype=np.uint8)).save(raw / "normal/f.png")
    found = built(raw)["pixel_hash"]
    assert found["normal/e.png"] != found["normal/f.png"]


def test_a_lesion_is_counted_in_pixels_and_as_a_share_and_an_empty_mask_is_no_evidence(raw: Path) -> None:
    found = built(raw)
    assert found["lesion_px"].to_dict() == {"benign/a.png": 6, "benign/b.png": 0, "normal/c.png": 0, "normal/d.bmp": 0}
    assert found.loc["benign/a.png", "lesion_share"] == pytest.approx(6 / 120)
    assert found["evidence"].tolist() == ["mask", "none", "none", "none"]
    assert (found.loc["benign/a.png", "width"], found.loc["benign/a.png", "height"]) == (12, 10)


def test_an_empty_and_a_foreign_class_are_refused(raw: Path) -> None:
    with pytest.raises(DatasetInvalid, match="no image of class malignant"):
        built(raw, "normal", "benign", "malignant")
    with pytest.raises(DatasetInvalid, match="images of class benign"):
        built(raw, "normal", "other")
    for path in (raw / "normal").iterdir():
        path.unlink()
    with pytest.raises(DatasetInvalid, match="no image of class normal"):
        built(raw)


def test_the_audit_counts_classes_groups_and_duplicates(raw: Path) -> None:
    table = built(raw).reset_index().assign(group=["g", "g", "h", "k"])
    said = count_images(table)
    assert said["classes"] == {
        "benign": {"images": 2, "groups": 1, "with_evidence": 1}, "normal": {"images": 2, "groups": 2, "with_evidence": 0},
    }  # fmt: skip
    assert exact_duplicates(table) == {
        "sets": 1, "images": 2, "across_groups": 1, "across_classes": 0, "list": [["normal/c.png", "normal/d.bmp"]],
    }  # fmt: skip
    assert said["group_size"] == {"smallest": 1, "median": 1.0, "largest": 2}
    assert said["image_sizes"] == {"12x10": 4}


def test_strata_are_terciles_of_images_with_a_lesion() -> None:
    about = pd.DataFrame({"image_id": list("abcdefg"), "lesion_share": [0, 0.06, 0.01, 0.02, 0.05, 0.03, 0.04]})
    found = lesion_size(about, pd.Series(list("abcdefg") * 3))
    assert found.to_dict() == {"c": "small", "d": "small", "f": "medium", "g": "medium", "e": "large", "b": "large"}
    assert lesion_size(about, pd.Series(["a"])).empty
