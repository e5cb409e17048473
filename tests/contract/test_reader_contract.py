"""Whatever file lies among the readers keeps the contract: records, evidence, purity, threads, refusals."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from gradfaith import registry
from gradfaith.data.readers.contract import DecodedImage, EvidenceKind, GroupKind, ReaderOptions
from gradfaith.errors import DatasetInvalid

NOISE = np.random.default_rng(3).integers(1, 255, (4, 20, 24), dtype=np.uint8)


def _phantom(raw: Path) -> tuple[Path | None, dict[str, Any]]:
    return None, {
        "size": 32,
        "patients_per_class": 1,
        "slices_per_patient": 2,
        "shortcut": {"kind": "marker", "strength": 1},
    }


def _folder(raw: Path) -> tuple[Path | None, dict[str, Any]]:
    for name, pixels in zip(("a/1.png", "a/2.jpg", "b/1.tif", "masks/a/1.png"), NOISE, strict=True):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(raw / name)
    (raw / "boxes.csv").write_text("image,x,y,width,height\nb/1.tif,2,3,4,5\n")
    return raw, {}


def _iqothnccd(raw: Path) -> tuple[Path | None, dict[str, Any]]:
    for place, word in enumerate(("Bengin", "Malignant", "Normal")):
        folder = raw / "The IQ-OTHNCCD lung cancer dataset" / f"{word} cases"
        folder.mkdir(parents=True)
        Image.fromarray(NOISE[place]).save(folder / f"{word} case (1).jpg")
    return raw, {}


def _photographs(raw: Path) -> tuple[Path | None, dict[str, Any]]:
    return None, {"cuts": 2}


def _nuts(raw: Path) -> tuple[Path | None, dict[str, Any]]:
    return None, {"size": 48, "good": 2, "train_good": 1, "defects": 1}


def _mvtec(raw: Path) -> tuple[Path | None, dict[str, Any]]:
    mask = np.where(NOISE[3] > 127, 255, 0).astype(np.uint8)
    places = {"train/good/000": NOISE[0], "test/good/000": NOISE[1], "test/crack/000": NOISE[2]}
    for name, pixels in (places | {"ground_truth/crack/000_mask": mask}).items():
        (raw / "hazelnut" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(raw / "hazelnut" / f"{name}.png")
    return raw, {}


def _shapes(raw: Path) -> tuple[Path | None, dict[str, Any]]:
    return None, {
        "size": 64,
        "backgrounds": 1,
        "images_per_class": 1,
        "small": (0.1, 0.1),
        "shapes": 2,
        "occlusion": 0.2,
    }


def _birds(raw: Path) -> tuple[Path | None, dict[str, Any]]:
    return None, {"size": 32, "train": 1, "test": 1}


def _funnybirds(raw: Path) -> tuple[Path | None, dict[str, Any]]:
    colours = {"beak": (255, 255, 0), "tail": (0, 0, 255)}
    for place, name in enumerate(("train/0/000000", "train/1/000001", "test/0/000000", "test/1/000001")):
        parts = np.zeros((20, 24, 3), dtype=np.uint8)
        parts[2:8, 2:8], parts[12:, 12:] = colours.values()
        part, rest = name.split("/", 1)
        for file, pixels in ((name, NOISE[place]), (f"{part}_part_map/{rest}", parts)):
            (raw / file).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(raw / f"{file}.png")
    (raw / "classes.json").write_text(
        '[{"class_idx": 0, "parts": {"beak": 0, "tail": 1}}, {"class_idx": 1, "parts": {"beak": 1, "tail": 1}}]'
    )
    (raw / "parts.json").write_text('{"beak": [], "tail": []}')
    return raw, {}


FABRICATED: dict[str, Callable[[Path], tuple[Path | None, dict[str, Any]]]] = {
    "phantom": _phantom, "folder": _folder, "iqothnccd": _iqothnccd, "photographs": _photographs,
    "nuts": _nuts, "mvtec": _mvtec,
    "shapes": _shapes, "birds": _birds, "funnybirds": _funnybirds,
}  # fmt: skip

Given = tuple[ModuleType, Path | None, ReaderOptions]


@pytest.fixture(params=registry.names("readers"))
def given(request: pytest.FixtureRequest, tmp_path: Path) -> Given:
    if request.param not in FABRICATED:
        pytest.fail(
            f"{request.param} is a reader without a miniature: add a function to FABRICATED in {Path(__file__).name}"
        )
    module = registry.load("readers", request.param)
    raw, options = FABRICATED[request.param](tmp_path)
    return module, raw, module.Options(**options)


def same(one: DecodedImage, other: DecodedImage) -> bool:
    return (
        np.array_equal(one.pixels, other.pixels)
        and one.masks.keys() == other.masks.keys()
        and all(np.array_equal(one.masks[region], other.masks[region]) for region in one.masks)
    )


def test_every_miniature_is_of_a_reader() -> None:
    assert set(FABRICATED) == set(registry.names("readers"))


def test_records_are_unique_stable_and_complete(given: Given) -> None:
    module, raw, options = given
    records = list(module.index(raw, options))
    assert records == list(module.index(raw, options))
    assert len({record.image_id for record in records}) == len(records) >= 3
    assert len({record.label for record in records}) >= 2
    for record in records:
        assert record.image_id
        assert record.label
        assert record.group_kind in get_args(GroupKind)
        assert record.group or record.group_kind == "inferred", "only groups to be inferred may be left open"
        assert record.evidence in get_args(EvidenceKind)
        for file in (record.file, *record.masks.values()):
            assert not Path(file).is_absolute()
            assert ".." not in Path(file).parts
            assert raw is None or (raw / file).is_file()


def test_every_file_that_a_record_names_is_listed_and_no_other_decides(given: Given) -> None:
    module, raw, options = given
    files = module.files(raw, options)
    named = {file for record in module.index(raw, options) for file in (record.file, *record.masks.values())}
    assert (raw is None) == (not files)
    assert raw is None or named <= set(files)
    assert all(path == Path(str(raw)) / name and path.is_file() for name, path in files.items())
    if raw is not None:
        for name in (".DS_Store", "notes.txt", "Thumbs.db"):
            (raw / name).write_text("not read")
        assert module.files(raw, options) == files


def test_pictures_and_regions_are_as_declared(given: Given) -> None:
    module, raw, options = given
    for record in module.index(raw, options):
        picture = module.read(raw, options, record, None)
        assert picture.pixels.dtype == np.uint8
        assert picture.pixels.ndim == 2 or picture.pixels.shape[2:] == (3,)
        assert ("evidence" in picture.masks) == (record.evidence != "none")
        for region, mask in picture.masks.items():
            assert region in {"evidence", "lungs", "body", "shortcut"}
            assert mask.dtype == np.bool_
            assert mask.shape == picture.pixels.shape[:2]
            assert mask.any()


def test_reading_is_pure_in_any_order_and_from_eight_threads(given: Given) -> None:
    module, raw, options = given
    records = list(module.index(raw, options))
    alone = [module.read(raw, options, record, "test") for record in records]
    assert not all(np.array_equal(alone[0].pixels, one.pixels) for one in alone[1:])
    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(lambda record: module.read(raw, options, record, "test"), 8 * records[::-1]))
    for place, picture in enumerate(again):
        assert same(picture, alone[::-1][place % len(alone)])


def test_unknown_options_and_missing_folders_are_refused(given: Given, tmp_path: Path) -> None:
    module, raw, options = given
    assert issubclass(module.Options, ReaderOptions)
    with pytest.raises(ValidationError, match="no_such_option"):
        module.Options(**options.model_dump(), no_such_option=1)
    if raw is not None:  # a computed dataset needs no folder
        for missing in (None, tmp_path / "nowhere"):
            with pytest.raises(DatasetInvalid, match="is not there") as raised:
                list(module.index(missing, options))
            assert raised.value.reason
            assert raised.value.fix
