"""MVTec AD as a classification set: classes from folders, masks by name, and refusals where they do not fit."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradfaith.config.dataset import Source
from gradfaith.data.fetch import dataset_files
from gradfaith.data.readers import mvtec
from gradfaith.errors import DatasetInvalid

OPTIONS = mvtec.Options()


def category(folder: Path, name: str = "hazelnut") -> Path:
    """Write a miniature of a category, as its archive has it."""
    home, noise = folder / name, np.random.default_rng(0)
    places = ["train/good/000", "train/good/010", "train/good/002", "test/good/000", "test/crack/000", "test/print/000"]
    for place in places:
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(home / f"{place}.png")
    for defect in ("crack", "print"):
        mask = np.zeros((12, 12), dtype=np.uint8)
        mask[2:5, 3:9] = 255
        (home / "ground_truth" / defect).mkdir(parents=True)
        Image.fromarray(mask).save(home / "ground_truth" / defect / "000_mask.png")
    (home / "readme.txt").write_text("about the set")
    return home


def test_classes_masks_and_groups(tmp_path: Path) -> None:
    category(tmp_path)
    records = list(mvtec.index(tmp_path, OPTIONS))
    assert [(record.image_id, record.label, record.evidence) for record in records] == [
        ("train/good/000.png", "good", "none"),
        ("train/good/002.png", "good", "none"),
        ("train/good/010.png", "good", "none"),
        ("test/crack/000.png", "crack", "mask"),
        ("test/good/000.png", "good", "none"),
        ("test/print/000.png", "print", "mask"),
    ]
    assert len({record.group for record in records}) == 6
    image = mvtec.read(tmp_path, OPTIONS, records[3], None)
    assert image.pixels.shape == (12, 12, 3)
    assert np.argwhere(image.masks["evidence"]).min(axis=0).tolist() == [2, 3]
    assert not mvtec.read(tmp_path, OPTIONS, records[0], None).masks
    assert "hazelnut/ground_truth/crack/000_mask.png" in mvtec.files(tmp_path, OPTIONS)
    assert [one.image_id for one in mvtec.index(tmp_path / "hazelnut", OPTIONS)] == [one.image_id for one in records]


def test_an_archive_is_fetched_and_read(tmp_path: Path) -> None:
    category(tmp_path / "made", "bottle")
    with tarfile.open(tmp_path / "bottle.tar.xz", "w:xz") as file:
        file.add(tmp_path / "made" / "bottle", "bottle")
    dataset_files.fetch([Source(local=str(tmp_path / "bottle.tar.xz"))], tmp_path / "resources", None, root=tmp_path)
    assert len(list(mvtec.index(tmp_path / "resources" / "raw", mvtec.Options(category="bottle")))) == 6


def test_defects_and_masks_must_belong_together(tmp_path: Path) -> None:
    home = category(tmp_path)
    (home / "ground_truth/crack/000_mask.png").rename(home / "ground_truth/crack/001_mask.png")
    with pytest.raises(DatasetInvalid, match=r"test/crack/000\.png shows a defect"):
        list(mvtec.index(tmp_path, OPTIONS))
    (home / "test/crack/000.png").rename(home / "test/crack/001.png")
    (home / "ground_truth/print/005_mask.png").write_bytes((home / "ground_truth/print/000_mask.png").read_bytes())
    with pytest.raises(DatasetInvalid, match=r"005_mask\.png is the mask of no image"):
        list(mvtec.index(tmp_path, OPTIONS))


def test_another_category_is_named(tmp_path: Path) -> None:
    category(tmp_path)
    with pytest.raises(DatasetInvalid, match=r"no folder bottle/test; it contains hazelnut"):
        list(mvtec.index(tmp_path, mvtec.Options(category="bottle")))
