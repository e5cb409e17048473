"""A mask is evidence pixel by pixel, or it is refused: of another size, or kept in a way that smears its edges."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradfaith.data.decode import decode, decode_mask
from gradfaith.data.readers import folder
from gradfaith.errors import DatasetInvalid, LossyMask, MaskSizeMismatch

NOISE = np.random.default_rng(0).integers(1, 255, (12, 16), dtype=np.uint8)


def square(path: Path, **how: object) -> Path:
    """A mask of 40 x 40 with an evidence of 13 x 13 pixels."""
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[11:24, 9:22] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path, **how)
    return path


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    image, mask = tmp_path / "a.png", tmp_path / "mask.png"
    Image.fromarray(NOISE[:, :-1]).save(mask)
    with pytest.raises(
        MaskSizeMismatch, match=r'mask of "a\.png" is 15 x 12 pixels, but its image is 16 x 12'
    ) as raised:
        decode_mask(mask, image, (12, 16))
    assert str(mask) in raised.value.fix


def test_what_is_transparent_is_black_and_no_evidence(tmp_path: Path) -> None:
    alpha = np.where(np.arange(16) < 8, 0, 255) * np.ones((12, 1))
    Image.fromarray(np.stack([NOISE, alpha.astype(np.uint8)], axis=-1), "LA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode(tmp_path / "a.png", 1), np.where(alpha > 0, NOISE, 0))
    np.testing.assert_array_equal(decode_mask(tmp_path / "a.png", tmp_path / "i.png", (12, 16)), alpha > 0)
    Image.fromarray(np.full((12, 16, 3), (0, 0, 1), dtype=np.uint8)).save(tmp_path / "dark.png")
    assert decode_mask(tmp_path / "dark.png", tmp_path / "i.png", (12, 16)).all(), "a dark blue is not zero"


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("mask.jpg", {"quality": 90}),
        ("mask.png", {"format": "JPEG", "quality": 90}),
        ("mask.tif", {"compression": "jpeg"}),
    ],
)
def test_a_jpeg_would_widen_the_evidence_so_it_is_refused(tmp_path: Path, name: str, how: dict[str, object]) -> None:
    mask = square(tmp_path / name, **how)
    if "quality" in how:
        assert (decode(mask, 1) > 0).sum() > 13 * 13, "there is nothing to refuse"
    with pytest.raises(LossyMask, match=rf"{name} is a JPEG") as raised:
        decode_mask(mask, tmp_path / "i.png", (40, 40))
    assert "PNG" in raised.value.fix


@pytest.mark.parametrize("how", [{"compression": "raw"}, {"compression": "tiff_lzw"}])
def test_a_lossless_tiff_is_a_mask(tmp_path: Path, how: dict[str, object]) -> None:
    assert decode_mask(square(tmp_path / "mask.tif", **how), tmp_path / "i.png", (40, 40)).sum() == 13 * 13


def test_masks_may_lie_elsewhere_and_move_without_new_names(tmp_path: Path) -> None:
    for name in ("raw/ill/a.png", "raw/well/b.png", "one/ill/a.png"):
        square(tmp_path / name)
    raw, found = tmp_path / "raw", []
    for place in ("one", "other"):
        options = folder.Options(one_image_per_patient=True, masks=str(tmp_path / place))
        record = next(iter(folder.index(raw, options)))
        assert folder.read(raw, options, record, None).masks["evidence"].sum() == 13 * 13
        files = folder.files(raw, options)
        assert files["masks/ill/a.png"] == tmp_path / place / "ill/a.png"
        found.append((record, list(files)))
        (tmp_path / "one").rename(tmp_path / "other") if place == "one" else None
    assert found[0] == found[1]
    with pytest.raises(DatasetInvalid, match=r"the folder of masks .* does not exist"):
        folder.files(raw, folder.Options(masks=str(tmp_path / "one")))


def test_a_folder_s_jpeg_masks_are_refused_though_its_jpeg_images_are_read(tmp_path: Path) -> None:
    for name in ("ill/a.jpg", "well/b.jpg", "masks/ill/a.jpg"):
        square(tmp_path / name)
    options = folder.Options(one_image_per_patient=True)
    records = list(folder.index(tmp_path, options))
    assert folder.read(tmp_path, options, records[1], None).pixels.shape == (40, 40)
    with pytest.raises(LossyMask, match=r"masks/ill/a\.jpg"):
        folder.read(tmp_path, options, records[0], None)
