"""images.h5 holds every image with its regions, and the numbers of the training part."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gradfaith.config.sections import Harmonise
from gradfaith.config.sections import Image as StudyImage
from gradfaith.data import decode
from gradfaith.data.fit import Harmoniser
from gradfaith.data.pack import pack_images
from gradfaith.data.readers import folder, phantom
from gradfaith.errors import MaskSizeMismatch
from gradfaith.storage.hdf5 import ImageStore


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Four flat images of 20 x 30, one with evidence."""
    for place in ("raw/a", "raw/masks/a"):
        (tmp_path / place).mkdir(parents=True)
    for number, grey in enumerate((50, 100, 200, 250)):
        Image.fromarray(np.full((20, 30), grey, dtype=np.uint8)).save(tmp_path / f"raw/a/{number}.png")
    mask = np.zeros((20, 30), dtype=np.uint8)
    mask[4:16, 6:24] = 1
    Image.fromarray(mask).save(tmp_path / "raw/masks/a/1.png")
    return tmp_path / "raw"


def packed(raw: Path, name: str, *parts: str, size: int = 32) -> ImageStore:
    table = pd.DataFrame({"image_id": [f"a/{number}.png" for number in range(len(parts))], "part": parts})
    options = folder.Options(one_image_per_patient=True)
    path = raw.parent / name
    pack_images(str(path), table, folder, raw, options, size=size, fit="pad", channels=1, harmonise=Harmoniser())
    return ImageStore(path)


def test_mean_and_std_are_those_of_the_training_part(raw: Path) -> None:
    with packed(raw, "i.h5", "train", "train", "test", "val") as images:
        assert images.mean == pytest.approx(75 / 255)
        assert images.std == pytest.approx(25 / 255)
        masks, known = images.mask("evidence", ["a/0.png", "a/1.png"])
        assert known.tolist() == [False, True]
        assert masks[1].sum() == pytest.approx(12 * 18 * (32 / 30) ** 2, rel=0.1)
        assert images.pixels(["a/3.png"]).max() == 250


def test_where_nothing_is_trained_on_all_images_count(raw: Path) -> None:
    with packed(raw, "i.h5", "test", "test", "test", "test") as images:
        assert images.mean == pytest.approx(150 / 255)


def test_the_digest_follows_pixels_and_masks(raw: Path) -> None:
    parts = ("train", "val", "test", "test")
    digests = [packed(raw, "1.h5", *parts).digest, packed(raw, "2.h5", *parts).digest]
    assert digests[0] == digests[1]
    mask = np.array(Image.open(raw / "masks/a/1.png"))
    mask[10, 10] = 0
    Image.fromarray(mask).save(raw / "masks/a/1.png")
    digests.append(packed(raw, "3.h5", *parts, size=30).digest)
    mask[10, 10] = 1
    Image.fromarray(mask).save(raw / "masks/a/1.png")
    digests.append(packed(raw, "4.h5", *parts, size=30).digest)
    assert len(set(digests)) == 3


def test_a_fault_in_the_middle_leaves_no_store(raw: Path) -> None:
    Image.fromarray(np.ones((20, 29), dtype=np.uint8)).save(raw / "masks/a/2.png")
    with pytest.raises(MaskSizeMismatch):
        packed(raw, "i.h5", "train", "train", "test", "val")
    assert [path.name for path in raw.parent.iterdir()] == ["raw"]


def test_a_shortcut_planted_in_training_only_is_not_in_test(tmp_path: Path) -> None:
    mark = phantom.Shortcut(kind="marker", strength=1, where="train")
    options = phantom.Options(size=48, patients_per_class=2, slices_per_patient=1, shortcut=mark)
    ids = [record.image_id for record in phantom.index(None, options)]
    table = pd.DataFrame({"image_id": ids, "part": ["train", "test"] * 3})
    pack_images(
        str(tmp_path / "i.h5"), table, phantom, None, options, size=48, fit="pad", channels=1, harmonise=Harmoniser()
    )
    with ImageStore(tmp_path / "i.h5") as images:
        _, known = images.mask("shortcut", ids)
    assert known[::2].any()
    assert not known[1::2].any()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("colour", [1, 3])
def test_an_image_from_elsewhere_is_made_as_the_study_s_own(raw: Path, channels: int, colour: int) -> None:
    draw = np.random.default_rng(0)
    Image.fromarray(draw.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(raw / "a/0.png")
    image = StudyImage(size=48, fit="crop", channels=channels, harmonise=Harmonise(low_pass=0.7, resample=16, jpeg=80))
    harmonise = Harmoniser(**image.harmonise.model_dump())
    options = folder.Options(one_image_per_patient=True, channels=colour)
    table = pd.DataFrame({"image_id": ["a/0.png"], "part": ["train"]})
    pack_images(
        str(raw.parent / "i.h5"), table, folder, raw, options,
        size=image.size, fit=image.fit, channels=image.channels, harmonise=harmonise,
    )  # fmt: skip
    with ImageStore(raw.parent / "i.h5") as images:
        np.testing.assert_array_equal(
            decode.read_as_in_study(raw / "a/0.png", image, colour=colour).pixels, images.pixels(["a/0.png"])[0]
        )
