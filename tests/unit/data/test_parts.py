"""Parts of an image, from the user's label map to what a metric of regions is handed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gradfaith.data import manifest
from gradfaith.data.fit import Harmoniser, SquareFit
from gradfaith.data.pack import pack_images
from gradfaith.data.readers import folder
from gradfaith.errors import DatasetInvalid, GradFaithError, MaskSizeMismatch, UnreadableImage
from gradfaith.metrics.contract import FIRST_DECOY
from gradfaith.scoring.faithfulness import region_numbers
from gradfaith.storage.hdf5 import ImageStore

OPTIONS = folder.Options(one_image_per_patient=True)
LABELS = np.zeros((20, 30), dtype=np.uint8)
LABELS[2:8, 3:12], LABELS[10:18, 3:12], LABELS[5:15, 18:28] = 1, 2, 7
IDS = ["a/0.png", "a/1.png", "b/0.png"]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Three images: one with parts, one with a mask, one with neither."""
    root = tmp_path / "raw"
    for place in ("a", "b", "parts/a", "masks/a"):
        (root / place).mkdir(parents=True)
    for file in IDS:
        Image.fromarray(np.full((20, 30), 90, dtype=np.uint8)).save(root / file)
    Image.fromarray(LABELS).save(root / "parts/a/0.png")
    Image.fromarray((LABELS == 1).astype(np.uint8)).save(root / "masks/a/1.png")
    return root


def packed(raw: Path, size: int = 30) -> ImageStore:
    path = raw.parent / f"{size}.h5"
    table = pd.DataFrame({"image_id": IDS, "part": ["train", "test", "test"]})
    pack_images(str(path), table, folder, raw, OPTIONS, size=size, fit="pad", channels=1, harmonise=Harmoniser())
    return ImageStore(path)


def test_parts_are_read_with_their_numbers_and_are_the_evidence_together(raw: Path) -> None:
    found = list(folder.index(raw, OPTIONS))
    assert [(one.image_id, one.evidence) for one in found] == list(zip(IDS, ("parts", "mask", "none"), strict=True))
    picture = folder.read(raw, OPTIONS, found[0], None)
    np.testing.assert_array_equal(picture.parts, LABELS)
    np.testing.assert_array_equal(picture.masks["evidence"], LABELS > 0)
    table = manifest.build_manifest(folder, raw, OPTIONS, ["a", "b"])
    assert table["evidence"].tolist() == ["parts", "mask", "none"]
    assert table["lesion_px"].tolist() == [int((LABELS > 0).sum()), 54, 0]


def test_the_store_keeps_them_and_a_metric_of_regions_gets_them(raw: Path) -> None:
    with packed(raw) as images:
        parts, known = images.parts(IDS)
        assert known.tolist() == [True, False, False]
        np.testing.assert_array_equal(parts[0][5:25], LABELS)
        found = region_numbers(images, IDS, 3, seed=0)
        np.testing.assert_array_equal(found[0], parts[0])
        assert set(np.unique(found[1])) == {0, 1, FIRST_DECOY, FIRST_DECOY + 1, FIRST_DECOY + 2}
        assert not found[2].any()
        np.testing.assert_array_equal(region_numbers(images, IDS[::-1], 3, seed=0)[1], found[1])
        assert not np.array_equal(region_numbers(images, IDS, 3, seed=1)[1], found[1])


def test_the_digest_follows_the_numbers_and_not_only_where_there_are_some(raw: Path) -> None:
    before = packed(raw).digest
    other = LABELS.copy()
    other[other == 7] = 3
    Image.fromarray(other).save(raw / "parts/a/0.png")
    assert packed(raw, 30).digest != before


@pytest.mark.parametrize("size", [9, 16, 33, 64])
@pytest.mark.parametrize("mode", ["pad", "crop"])
def test_the_parts_fitted_are_the_evidence_fitted_and_none_is_lost(size: int, mode) -> None:
    draw, fit = np.random.default_rng(size), SquareFit(size, mode)
    labels = np.zeros((40, 40), dtype=np.uint8)
    for number in range(1, 6):
        top, left = draw.integers(0, 30, 2)
        labels[top : top + 9, left : left + 9] = number
    labels[draw.integers(40), draw.integers(40)] = 9  # one pixel
    fitted, together = fit.parts(labels), fit.mask(labels > 0)
    assert set(np.unique(fitted)) - {0} == set(np.unique(labels)) - {0}
    assert ((fitted > 0) != together).sum() <= 6, "but for parts below half a pixel"
    np.testing.assert_array_equal(SquareFit(40, mode).parts(labels), labels)


def test_a_part_takes_the_pixels_it_covers_most() -> None:
    labels = np.array([[1, 1, 1, 2], [1, 1, 2, 2]] * 2, dtype=np.uint8)
    np.testing.assert_array_equal(SquareFit(2, "pad").parts(labels), [[1, 2], [1, 2]])


@pytest.mark.parametrize(
    ("kind", "picture", "said"),
    [
        (UnreadableImage, np.full((20, 30), 200, dtype=np.uint8), "part number 200"),
        (UnreadableImage, np.stack([LABELS, LABELS, LABELS + 1], axis=-1), "colours"),
        (MaskSizeMismatch, LABELS[:, :29], "29 x 20"),
    ],
)
def test_label_maps_that_are_none_are_refused(
    raw: Path, kind: type[GradFaithError], picture: np.ndarray, said: str
) -> None:
    Image.fromarray(picture).save(raw / "parts/a/0.png")
    record = next(iter(folder.index(raw, OPTIONS)))
    with pytest.raises(kind) as raised:
        folder.read(raw, OPTIONS, record, None)
    assert said in raised.value.problem


def test_parts_and_a_mask_of_one_image_are_refused(raw: Path) -> None:
    Image.fromarray(LABELS).save(raw / "parts/a/1.png")
    with pytest.raises(DatasetInvalid) as raised:
        list(folder.index(raw, OPTIONS))
    assert '"a/1.png" has a mask, "masks/a/1.png" and parts, "parts/a/1.png"' in raised.value.problem
