"""Read IQ-OTH/NCCD lung CT slices in their release's own layout [alyasriy2021].

    raw/[.../]<Bengin|Malignant|Normal> cases/<Class> case (<n>).jpg       (or folders benign, malignant, normal)

The folder that contains the class folders may be up to three levels below raw, as in the release's zip. Image ids are
relative to it, so they do not depend on where an archive was unpacked. "Bengin" is the release's own spelling, and stays in
file names. The release has no masks, so there is no evidence. It has no patient ids, so images have no group, and groups are
inferred from the pixels. Its "Test cases" folder has no labels and is skipped. An image with any other name is an error,
because augmented copies of this dataset exist.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from gradfaith.data.decode import decode
from gradfaith.data.readers.contract import (
    IMAGE_SUFFIXES,
    NOTE_SUFFIXES,
    DecodedImage,
    ReaderOptions,
    Record,
    natural_sort_key,
)
from gradfaith.errors import DatasetInvalid

CLASS_FOLDER = re.compile(r"(bengin|benign|malignant|normal)( cases)?", re.IGNORECASE)
SLICE_NAME = re.compile(r"(Bengin|Benign|Malignant|Normal) case \(([0-9]+)\)\.jpe?g")
UNLABELLED = "test cases"
SEARCH_DEPTH = 3


class Options(ReaderOptions):
    """No options: the release is read unchanged."""


def files(raw: Path | None, options: Options) -> Mapping[str, Path]:  # noqa: ARG001 - a reader's signature
    """Return the slices, by class folder and number."""
    if raw is None or not raw.is_dir():
        raise DatasetInvalid(
            problem=f"the raw folder {raw} is not there.",
            reason="This reader needs the release's three folders of JPEG files.",
            fix=f"Unpack IQ-OTH/NCCD into {raw}, or set `raw:` in config/datasets/iqothnccd.yaml.",
        )
    folders = [one for one in _entries(_release_root(raw)) if one.is_dir() and CLASS_FOLDER.fullmatch(one.name)]
    slices = (one for folder in folders for one in _entries(folder) if one.suffix.lower() not in NOTE_SUFFIXES)
    return {path.relative_to(raw).as_posix(): path for path in slices}


def index(raw: Path | None, options: Options) -> Iterator[Record]:
    """Yield one record per slice, by class folder and number."""
    slices, seen = files(raw, options), dict[tuple[str, int], str]()
    assert raw is not None
    root = _release_root(raw)
    for file, path in slices.items():
        which = _class_and_number(raw, path)
        if which in seen:
            raise DatasetInvalid(
                problem=f'"{file}" and "{seen[which]}" are the same slice, {which[0]} {which[1]}.',
                reason="The release has every slice once. A second copy would count twice, or be in two parts of the split.",
                fix="Move one of the two files out of the raw folder.",
            )
        seen[which] = file
        yield Record(path.relative_to(root).as_posix(), file, which[0], "", "inferred", "none")


def read(raw: Path | None, options: Options, record: Record, part: str | None) -> DecodedImage:  # noqa: ARG001 - a reader's signature
    """Decode one slice; it has no masks."""
    assert raw is not None
    return DecodedImage(decode(raw / record.file, channels=1))


def _release_root(raw: Path) -> Path:
    """Return the one folder that contains class folders."""
    found = list(_find_roots(raw, raw, SEARCH_DEPTH))
    if not found:
        raise DatasetInvalid(
            problem=f'there are no folders "Bengin cases", "Malignant cases", "Normal cases" in {raw}, or up to {SEARCH_DEPTH} levels below.',
            reason="The folder of a slice states its class.",
            fix=f"Unpack the release into {raw} unchanged, with its folders.",
        )
    if len(found) > 1:
        places = ", ".join(f'"{one.relative_to(raw).as_posix()}"' for one in found)
        raise DatasetInvalid(
            problem=f"{len(found)} folders in {raw} contain class folders: {places}.",
            reason="With two copies of a release, one slice could be in two parts of the split.",
            fix="Keep one of these folders in the raw folder, and move the others away.",
        )
    return found[0]


def _find_roots(raw: Path, folder: Path, depth: int) -> Iterator[Path]:
    below = _entries(folder)
    if any(one.is_dir() and CLASS_FOLDER.fullmatch(one.name) for one in below):
        yield folder
    for one in below:
        if one.is_dir() and not CLASS_FOLDER.fullmatch(one.name) and one.name.lower() != UNLABELLED and depth:
            yield from _find_roots(raw, one, depth - 1)
        elif one.is_file() and one.suffix.lower() in IMAGE_SUFFIXES:
            raise _misnamed(raw, one)


def _entries(folder: Path) -> list[Path]:
    """List a folder in natural order, without hidden files of operating systems."""
    left = (one for one in folder.iterdir() if not one.name.startswith(".") and one.name != "__MACOSX")
    return sorted(left, key=lambda path: natural_sort_key(path.name))


def _class_and_number(raw: Path, path: Path) -> tuple[str, int]:
    """Return class and number of a slice; name and folder must agree on the class."""
    match = SLICE_NAME.fullmatch(path.name)
    if match is None or path.is_dir():
        raise _misnamed(raw, path)
    label, where = _label(match[1]), _label(path.parent.name)
    if label != where:
        raise DatasetInvalid(
            problem=f'"{path.relative_to(raw).as_posix()}" is named {label}, but is in the folder of {where}.',
            reason="The name of the file and its folder state different classes, so one of the two is wrong.",
            fix="Move the file to the folder in which the release has it.",
        )
    return label, int(match[2])


def _label(name: str) -> str:
    word = name.split(maxsplit=1)[0].lower()
    return "benign" if word == "bengin" else word


def _misnamed(raw: Path, path: Path) -> DatasetInvalid:
    return DatasetInvalid(
        problem=f'"{path.relative_to(raw).as_posix()}" is not named "<Class> case (<n>).jpg" in a folder of its class.',
        reason="Augmented copies of this dataset exist; a mirrored slice in another part of the split would be a leak.",
        fix="Move such files out of the raw folder, or unpack the original release.",
    )
