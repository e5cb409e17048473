"""Read the user's own images: one folder per class, evidence beside them, patients in a small table.

    raw/<class>/<name>.png|jpg|tif|bmp    the images
    raw/masks/<class>/<name>.png          optional: non-zero where the evidence is, as large as its image, not JPEG;
                                          option `masks`: another folder for them
    raw/parts/<class>/<name>.png          optional, instead: grey, the value of a pixel is the number of its part, 0 none
    raw/boxes.csv                         optional: image,x,y,width,height  (pixels; x, y: left and top edge, from 0)
    raw/groups.csv                        optional: image,patient           (image: <class>/<name>.png)

Several boxes of an image are one filled region: a pixel belongs to it if a box covers any of it. Each is one object. Without groups.csv this
reader does not know which images share a patient, unless `one_image_per_patient` is set. The dataset's key `groups:` then
takes the patient from file names, or infers groups from the pixels. Nothing is dropped silently: the reader stops at a file
that is neither an image nor a note, and at a mask, a box or a patient without an image. Hidden files are skipped.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from gradfaith.data.decode import decode, decode_mask, decode_parts
from gradfaith.data.readers.contract import (
    IMAGE_SUFFIXES,
    NOTE_SUFFIXES,
    BoolMask,
    DecodedImage,
    ReaderOptions,
    Record,
    TableLine,
    canonical_id,
    check_class_depth,
    line_error,
    natural_sort_key,
    read_table,
)
from gradfaith.errors import DatasetInvalid
from gradfaith.registry import did_you_mean
from gradfaith.vocabulary import EvidenceKind, LesionProperties

MASKS, PARTS, BOXES, GROUPS = "masks", "parts", "boxes.csv", "groups.csv"
FOREIGN_FORMATS = {".dcm": "DICOM", ".nii": "NIfTI", ".gz": "NIfTI", ".mha": "MetaImage", ".npy": "NumPy"}
EVIDENCE_TEXT: Mapping[EvidenceKind, str] = {"mask": "a mask", "parts": "parts", "box": "a box"}
UNDESCRIBED = LesionProperties("", np.nan, "", "", "", "")  # the object in a box
WHY_BOXES = "A box is the left and top edge, width and height of a rectangle in pixels of its image, counted from 0."
WHY_GROUPS = "Every image must belong to one patient, or the split cannot keep all images of a patient together."


class Box(NamedTuple):
    """One line of boxes.csv: a rectangle in pixels of its image."""

    line: int
    x: float
    y: float
    width: float
    height: float


ImageBoxes = tuple[Box, ...]


class Options(ReaderOptions):
    """The properties of a folder of images that the files do not show."""

    one_image_per_patient: bool = Field(
        False, description="every image is of another patient and is its own group; groups.csv overrides this"
    )
    channels: Literal[1, 3] = Field(1, description="1 reads images as grey, 3 as colour")
    masks: str = Field(
        "",
        description="the folder of the masks, if it is not `masks/` in the raw folder; it holds `<class>/<name>.png`",
    )


def files(raw: Path | None, options: Options) -> Mapping[str, Path]:
    """Return the images, their masks or parts, and the two tables."""
    root = _raw_folder(raw)
    names = [file for folder in _class_folders(root) for file in _image_files(root, folder)]
    beside = _evidence_files(_place(root, MASKS, options), MASKS) | _evidence_files(root / PARTS, PARTS)
    tables = [table for table in (BOXES, GROUPS) if (root / table).is_file()]
    return {name: root / name for name in names} | beside | {table: root / table for table in tables}


def index(raw: Path | None, options: Options) -> Iterator[Record]:
    """Yield one record per image, class by class; check that tables, masks and images fit together."""
    root = _raw_folder(raw)
    images = {file: folder for folder in _class_folders(root) for file in _image_files(root, folder)}
    boxes, patients = _boxes_by_image(root), _patients_by_image(root, options)
    kinds: dict[EvidenceKind, Mapping[str, str]] = {
        "mask": _masks_by_image(_place(root, MASKS, options), images, MASKS),
        "parts": _masks_by_image(root / PARTS, images, PARTS), "box": dict.fromkeys(boxes, BOXES),
    }  # fmt: skip
    _check_consistency(root, images, kinds, boxes, patients)
    for file, folder in images.items():
        group = file if patients is None else patients.get(file, "")
        kind: EvidenceKind = next((kind for kind, files in kinds.items() if file in files), "none")
        where = {"evidence": kinds[kind][file]} if kind != "none" else {}
        objects = (UNDESCRIBED,) * len(boxes.get(file, ()))
        yield Record(file, file, folder, group, "patient" if group else "inferred", kind, where, objects)


def read(raw: Path | None, options: Options, record: Record, part: str | None) -> DecodedImage:  # noqa: ARG001 - a reader's signature
    """Decode one image with its evidence."""
    root = _raw_folder(raw)
    pixels = decode(root / record.file, options.channels)
    size = (pixels.shape[0], pixels.shape[1])
    if record.evidence == "none":
        return DecodedImage(pixels)
    if record.evidence == "parts":
        parts = decode_parts(root / record.masks["evidence"], root / record.file, size)
        return DecodedImage(pixels, {"evidence": parts > 0}, parts) if parts.any() else DecodedImage(pixels)
    if record.evidence == "box":
        evidence = _fill_boxes(root, record.file, _boxes_by_image(root)[record.file], size)
    else:
        mask = _place(root, MASKS, options) / Path(record.masks["evidence"]).relative_to(MASKS)
        evidence = decode_mask(mask, root / record.file, size)
    return DecodedImage(pixels, {"evidence": evidence} if np.any(evidence) else {})


def _raw_folder(raw: Path | None) -> Path:
    if raw is None or not raw.is_dir():
        beside = [path.name for path in raw.parent.iterdir() if path.is_dir()] if raw and raw.parent.is_dir() else []
        raise DatasetInvalid(
            problem=f"the raw folder {raw} is not there{did_you_mean(raw.name, beside) if raw else '.'}",
            reason="The reader `folder` takes the images of each class from <raw>/<class>/.",
            fix="Set `raw:` in the dataset's file to the folder that contains one folder per class. "
            "For a ZIP file, write `sources: [{local: FILE}]` instead of `raw:`.",
        )
    return raw


def _class_folders(root: Path) -> list[str]:
    found = [path.name for path in _entries(root, root, folders=True) if path.name not in (MASKS, PARTS)]
    if not found:
        raise DatasetInvalid(
            problem=f"{root} has no class folders.",
            reason="The class of an image is the name of its folder.",
            fix="Put the images of each class into their own folder there.",
        )
    check_class_depth(root, found)
    return found


def _image_files(root: Path, folder: str) -> list[str]:
    found = [path.relative_to(root).as_posix() for path in _entries(root, root / folder, folders=False)]
    if not found:
        raise DatasetInvalid(
            problem=f'there is no image of class {folder}: the folder "{folder}" of {root} has none.',
            reason="An empty folder is a class without images, or not a class folder.",
            fix=f"Put {', '.join(sorted(IMAGE_SUFFIXES))} files into it, or remove the folder.",
        )
    return found


def _entries(root: Path, place: Path, *, folders: bool) -> list[Path]:
    """List the folders, or the images, of `place` in natural order; raise at anything else but notes."""
    found = []
    for path in sorted(place.iterdir(), key=lambda path: natural_sort_key(path.name)):
        if (
            path.name.startswith(".")
            or path.name == "__MACOSX"
            or (path.is_file() and path.suffix.lower() in NOTE_SUFFIXES)
        ):
            continue
        if not (path.is_dir() if folders else path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES):
            kind = FOREIGN_FORMATS.get(path.suffix.lower(), "")
            how = f"Export {kind} images to 8-bit PNG" if kind else "Move it to a class folder, or elsewhere"
            raise DatasetInvalid(
                problem=f'"{path.relative_to(root).as_posix()}" in {root} is not {"a class folder" if folders else "an image"}'
                + (f"; it is a {kind} file, which GradFaith does not read." if kind else "."),
                reason="Images must be in <class>/; GradFaith skips no file silently, because that would change the study's data.",
                fix=f"{how}; images are {', '.join(sorted(IMAGE_SUFFIXES))} files.",
            )
        found.append(path)
    return found


def _place(root: Path, kind: str, options: Options) -> Path:
    """Return the folder of masks or parts."""
    if kind != MASKS or not options.masks:
        return root / kind
    if not Path(options.masks).is_dir():
        raise DatasetInvalid(
            problem=f"the folder of masks {options.masks} does not exist.",
            reason="The masks are the evidence that maps are compared with.",
            fix="Correct `options: {masks: ...}` in the dataset's file; a relative path starts at the folder where you run `snakemake`.",
        )
    return Path(options.masks)


def _evidence_files(place: Path, kind: str) -> dict[str, Path]:
    """Return the files of masks or parts by name: `masks/<class>/<name>.png`, wherever their folder lies."""
    folders = _entries(place, place, folders=True) if place.is_dir() else []
    files = (path for folder in folders for path in _entries(place, folder, folders=False))
    return {f"{kind}/{path.relative_to(place).as_posix()}": path for path in files}


def _masks_by_image(place: Path, images: Mapping[str, str], kind: str) -> dict[str, str]:
    """Return the files of masks, or of parts, by their image: the one with the same folder and stem."""
    by_stem: dict[Path, list[str]] = {}
    for file in images:
        by_stem.setdefault(Path(file).with_suffix(""), []).append(file)
    masks: dict[str, str] = {}
    for mask in _evidence_files(place, kind):
        owners = by_stem.get(Path(mask).relative_to(kind).with_suffix(""), [])
        if len(owners) != 1 or owners[0] in masks:
            other = f', and "{masks[owners[0]]}" is its mask too' if len(owners) == 1 else ""
            raise DatasetInvalid(
                problem=f'"{mask.removeprefix(kind + "/")}" in {place} is the mask of {" and ".join(owners) or "no image"}{other}.',
                reason="A mask needs exactly one image: in the folder of the same class, with the same name except the suffix.",
                fix="Rename the mask or its image, or move the mask out of its folder.",
            )
        masks[owners[0]] = mask
    return masks


def _boxes_by_image(root: Path) -> Mapping[str, ImageBoxes]:
    table = root / BOXES
    if not table.is_file():
        return {}
    state = table.stat()
    return _read_boxes(table, (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=4)  # read once, not once per image; the state shows whether the file was changed
def _read_boxes(table: Path, _state: tuple[int, int]) -> Mapping[str, ImageBoxes]:
    found: dict[str, ImageBoxes] = {}
    for line in read_table(table, ("image", "x", "y", "width", "height"), WHY_BOXES):
        try:
            x, y, width, height = (float(cell) for cell in line.cells[1:])
        except ValueError:
            x = y = width = height = np.nan
        if not (np.isfinite([x, y]).all() and 0 < width < np.inf and 0 < height < np.inf and x >= 0 and y >= 0):
            said = f'"{",".join(line.cells)}" is not a box with edges from 0 and a size above 0'
            raise line_error(table, line.number, said, WHY_BOXES, "Correct this line.")
        file = line.cells[0]
        found[file] = (*found.get(file, ()), Box(line.number, x, y, width, height))
    return found


def _fill_boxes(root: Path, file: str, boxes: ImageBoxes, size: tuple[int, int]) -> BoolMask:  # (h, w)
    region = np.zeros(size, dtype=bool)
    for line, x, y, width, height in boxes:
        if x + width > size[1] or y + height > size[0]:
            said = f'the box {x:g},{y:g},{width:g},{height:g} exceeds "{file}", which is {size[1]} x {size[0]} pixels'
            raise line_error(root / BOXES, line, said, WHY_BOXES, "Correct the line; is it for another image size?")
        region[int(y) : int(np.ceil(y + height)), int(x) : int(np.ceil(x + width))] = True
    return region


def _patients_by_image(root: Path, options: Options) -> dict[str, str] | None:
    """Return the patient of each image; empty: this reader does not know them, None: every image is its own."""
    table = root / GROUPS
    if table.is_file():
        found: dict[str, TableLine] = {}
        for line in read_table(table, ("image", "patient"), "Patients are looked up by the image's file."):
            if (first := found.setdefault(line.cells[0], line)) is not line:
                said = f'"{line.cells[0]}" is already in line {first.number}'
                raise line_error(table, line.number, said, WHY_GROUPS, "Remove one of the two lines.")
            if not canonical_id(line.cells[1]):
                said = f"the patient {line.cells[1]!a} has no visible character"
                raise line_error(table, line.number, said, WHY_GROUPS, "Write the patient's id.")
        return {file: line.cells[1] for file, line in found.items()}
    return None if options.one_image_per_patient else {}


def _check_consistency(
    root: Path,
    images: Mapping[str, str],
    kinds: Mapping[EvidenceKind, Mapping[str, str]],
    boxes: Mapping[str, ImageBoxes],
    patients: Mapping[str, str] | None,
) -> None:
    """Check that tables and images name each other, and that each image has at most one kind of evidence."""
    for table, named in ((BOXES, boxes), (GROUPS, patients or {})):
        if foreign := next((file for file in named if file not in images), None):
            raise DatasetInvalid(
                problem=f'{table} has a line for "{foreign}", but {root} has no such image.',
                reason="The name is probably misspelt, so the intended image would have no entry.",
                fix="Write the image as <class>/<name>.<suffix>, exactly like its file, or remove the line.",
            )
    if (root / GROUPS).is_file() and (missing := next((file for file in images if file not in (patients or {})), None)):
        raise DatasetInvalid(
            problem=f'groups.csv has no line for "{missing}".',
            reason=WHY_GROUPS,
            fix="Add the line, or move the image out of its folder.",
        )
    for file in images:
        said = [f'{EVIDENCE_TEXT[kind]}, "{files[file]}"' for kind, files in kinds.items() if file in files]
        if len(said) > 1:
            raise DatasetInvalid(
                problem=f'"{file}" has {" and ".join(said)}.',
                reason="An image can have only one kind of evidence, because two could contradict each other.",
                fix="Keep one kind of evidence, and move the file of the other out of its folder.",
            )
