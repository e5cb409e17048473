"""Read one category of MVTec AD as a classification set: kinds of defects and `good`, with masks of the defects.

    raw/<category>/train/good/<n>.png                       class good
    raw/<category>/test/good/<n>.png                        class good
    raw/<category>/test/<defect>/<n>.png                    class <defect>
    raw/<category>/ground_truth/<defect>/<n>_mask.png       evidence, 0 and 255

MVTec AD is a set for anomaly detection: defects are in test/ only, so a study divides all images itself (`split:`), and the
folder names train and test do not decide the part. An image shows one object, so every image is its own group. `raw` may
also be the folder of the category itself. The reader stops at a defect without a mask and at a mask without an image.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import Field

from gradfaith.data.decode import decode, decode_mask
from gradfaith.data.readers.contract import (
    IMAGE_SUFFIXES,
    SOUND,
    DecodedImage,
    ReaderOptions,
    Record,
    natural_sort_key,
)
from gradfaith.errors import DatasetInvalid

TRUTH, MASK_ENDING = "ground_truth", "_mask"


class Options(ReaderOptions):
    """The category of MVTec AD."""

    category: str = Field("hazelnut", pattern=r"^\w+$", description="its folder: hazelnut, bottle, carpet, ...")


def files(raw: Path | None, options: Options) -> Mapping[str, Path]:
    """Return the images and the masks."""
    root, home = _raw_folder(raw), _category_folder(raw, options)
    masks = [path for folder in _folders(home / TRUTH) for path in _images(folder)]
    return {path.relative_to(root).as_posix(): path for path in (*_all_images(home), *masks)}


def index(raw: Path | None, options: Options) -> Iterator[Record]:
    """Yield one record per image, class by class; check that defects and masks belong together."""
    root, home = _raw_folder(raw), _category_folder(raw, options)
    masks = {
        (folder.name, path.stem.removesuffix(MASK_ENDING)): path.relative_to(root).as_posix()
        for folder in _folders(home / TRUTH)
        for path in _images(folder)
    }
    for path in _all_images(home):
        file, label = path.relative_to(root).as_posix(), path.parent.name
        name = path.relative_to(home).as_posix()
        mask = masks.pop((label, path.stem), None)
        if label == SOUND:
            yield Record(name, file, label, name, "photograph", "none")
        elif mask is None:
            raise _unpaired(f"{file} shows a defect, but {TRUTH}/{label}/{path.stem}{MASK_ENDING}.png is not there")
        else:
            yield Record(name, file, label, name, "photograph", "mask", {"evidence": mask})
    if masks:
        raise _unpaired(f"{next(iter(masks.values()))} is the mask of no image in test/")


def read(raw: Path | None, options: Options, record: Record, part: str | None) -> DecodedImage:  # noqa: ARG001 - a reader's signature
    """Decode one image with the mask of its defect."""
    root = _raw_folder(raw)
    pixels = decode(root / record.file, 3)
    if not record.masks:
        return DecodedImage(pixels)
    mask = decode_mask(root / record.masks["evidence"], root / record.file, (pixels.shape[0], pixels.shape[1]))
    return DecodedImage(pixels, {"evidence": mask} if mask.any() else {})


def _raw_folder(raw: Path | None) -> Path:
    if raw is None or not raw.is_dir():
        raise DatasetInvalid(
            problem=f"the raw folder {raw} is not there.",
            reason="The reader `mvtec` takes the images from <raw>/<category>/train, test and ground_truth.",
            fix="Run `snakemake fetch`, or set `dataset: {source: FOLDER or ARCHIVE}` in the study.",
        )
    return raw


def _category_folder(raw: Path | None, options: Options) -> Path:
    """Return the folder of the category: in the raw folder, or the raw folder itself."""
    root = _raw_folder(raw)
    home = root / options.category if (root / options.category).is_dir() else root
    missing = [name for name in ("test", TRUTH) if not (home / name).is_dir()]
    if missing:
        there = ", ".join(sorted(path.name for path in root.iterdir())) or "nothing"
        raise DatasetInvalid(
            problem=f"{root} has no folder {options.category}/{missing[0]}; it contains {there}.",
            reason="A category of MVTec AD has the folders train, test and ground_truth.",
            fix="Correct `options: {category: ...}` in the dataset's file, or unpack the archive of this category.",
        )
    return home


def _all_images(home: Path) -> list[Path]:
    """Return the images of train/ and test/, folder by folder."""
    return [path for part in ("train", "test") for folder in _folders(home / part) for path in _images(folder)]


def _folders(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    """Return the images of a folder in natural order; hidden files and files of other kinds are no images."""
    found = (path for path in folder.iterdir() if not path.name.startswith("."))
    images = [path for path in found if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(images, key=lambda path: natural_sort_key(path.name))


def _unpaired(problem: str) -> DatasetInvalid:
    return DatasetInvalid(
        problem=f"{problem}.",
        reason="The masks are the evidence that maps are compared with; a missing one would change the result.",
        fix="Unpack the archive of the category again, completely.",
    )
