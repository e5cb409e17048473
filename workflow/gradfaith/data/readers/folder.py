"""The user's own images: one folder per class, evidence beside them, patients in a small table.

    raw/<class>/<name>.png|jpg|tif|bmp    the images
    raw/masks/<class>/<name>.png          optional: non-zero where the evidence lies, as large as its image, no JPEG
    raw/parts/<class>/<name>.png          optional, instead: grey, the value of a pixel is the number of its part, 0 none
    raw/boxes.csv                         optional: image,x,y,width,height  (pixels; x, y: left and top edge, from 0)
    raw/groups.csv                        optional: image,patient           (image: <class>/<name>.png)

Several boxes of an image are one region, filled: a pixel belongs to it where a box covers any of it. Without groups.csv
there is no way to know which images share a patient, so it is refused unless `one_image_per_patient` says that none do, or
`infer_groups` asks for groups from the pixels. Nothing is dropped in silence: a file that is neither an image nor a note, a
mask, a box or a patient without an image are refused by name; hidden files are passed over.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from gradfaith.data.decode import decode, decode_mask, decode_parts
from gradfaith.data.readers.contract import (
    NOTES,
    Evidence,
    Line,
    Mask,
    Picture,
    ReaderOptions,
    Record,
    faulty,
    lines,
    natural,
)
from gradfaith.errors import DatasetInvalid

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
MASKS, PARTS, BOXES, GROUPS = "masks", "parts", "boxes.csv", "groups.csv"
A: Mapping[Evidence, str] = {"mask": "a mask", "parts": "parts", "box": "a box"}
WHY_BOXES = "A box is the left and top edge, width and height of a rectangle in pixels of its image, counted from 0."
WHY_GROUPS = "Every image must belong to one patient, or the split cannot keep patients whole."

Boxes = tuple[tuple[int, float, float, float, float], ...]  # line, x, y, width, height


class Options(ReaderOptions):
    """What a folder of images does not say by itself."""

    one_image_per_patient: bool = Field(
        False, description="no patient has two images, so every image is a group of its own"
    )
    infer_groups: bool = Field(
        False, description="groups are inferred from the pixels, see groups: in the dataset's file"
    )
    channels: Literal[1, 3] = Field(1, description="1 reads images as grey, 3 as colour")

    @model_validator(mode="after")
    def _one_of_two(self) -> "Options":
        if self.one_image_per_patient and self.infer_groups:
            raise ValueError("one_image_per_patient and infer_groups contradict each other; groups.csv beats both")
        return self


def index(raw: Path | None, options: Options) -> Iterator[Record]:
    root = _root(raw)
    images = {file: folder for folder in _classes(root) for file in _images(root, folder)}
    boxes, patients = _boxes_of(root), _patients(root, options)
    kinds: dict[Evidence, Mapping[str, str]] = {
        "mask": _masks(root, images, MASKS), "parts": _masks(root, images, PARTS), "box": dict.fromkeys(boxes, BOXES),
    }  # fmt: skip
    _known(root, images, kinds, boxes, patients)
    for file, folder in images.items():
        group = file if patients is None else patients.get(file, "")
        kind: Evidence = next((kind for kind, own in kinds.items() if file in own), "none")
        where = {"evidence": kinds[kind][file]} if kind != "none" else {}
        yield Record(file, file, folder, group, "patient" if group else "inferred", kind, where)


def read(raw: Path | None, options: Options, record: Record, part: str | None) -> Picture:  # noqa: ARG001 - a reader's signature
    root = _root(raw)
    pixels = decode(root / record.file, options.channels)
    size = (pixels.shape[0], pixels.shape[1])
    if record.evidence == "none":
        return Picture(pixels)
    if record.evidence == "parts":
        parts = decode_parts(root / record.masks["evidence"], root / record.file, size)
        return Picture(pixels, {"evidence": parts > 0}, parts) if parts.any() else Picture(pixels)
    if record.evidence == "box":
        evidence = _filled(root, record.file, _boxes_of(root)[record.file], size)
    else:
        evidence = decode_mask(root / record.masks["evidence"], root / record.file, size)
    return Picture(pixels, {"evidence": evidence} if np.any(evidence) else {})


def _root(raw: Path | None) -> Path:
    if raw is None or not raw.is_dir():
        raise DatasetInvalid(
            found=f"the raw folder {raw} is not there.",
            why="This reader takes images from <raw>/<class>/.",
            then="Set `raw:` in config/datasets/<name>.yaml to the folder that holds one folder per class.",
        )
    return raw


def _classes(root: Path) -> list[str]:
    found = [path.name for path in _inside(root, root, folders=True) if path.name not in (MASKS, PARTS)]
    if not found:
        raise DatasetInvalid(
            found=f"{root} has no class folders.",
            why="The class of an image is the name of the folder it lies in.",
            then="Put the images of each class into a folder of its own there.",
        )
    return found


def _images(root: Path, folder: str) -> list[str]:
    found = [path.relative_to(root).as_posix() for path in _inside(root, root / folder, folders=False)]
    if not found:
        raise DatasetInvalid(
            found=f'there is no image of class {folder}: the folder "{folder}" of {root} has none.',
            why="An empty folder is a class without images, or a folder that is no class.",
            then=f"Put {', '.join(sorted(SUFFIXES))} files into it, or take it away.",
        )
    return found


def _inside(root: Path, place: Path, *, folders: bool) -> list[Path]:
    """The folders, or the images, of a place in natural order; what is neither those nor a note is refused."""
    found = []
    for path in sorted(place.iterdir(), key=lambda path: natural(path.name)):
        if path.name.startswith(".") or path.name == "__MACOSX" or (path.is_file() and path.suffix.lower() in NOTES):
            continue
        if not (path.is_dir() if folders else path.is_file() and path.suffix.lower() in SUFFIXES):
            raise DatasetInvalid(
                found=f'"{path.relative_to(root).as_posix()}" in {root} is no {"class folder" if folders else "image"}.',
                why="Images lie in <class>/; one left out in silence would change the study's data without a trace.",
                then=f"Take it out, or make it an image in a class folder ({', '.join(sorted(SUFFIXES))}).",
            )
        found.append(path)
    return found


def _masks(root: Path, images: Mapping[str, str], place: str) -> dict[str, str]:
    """Files of masks, or of parts, by their image: the one with the same folder and stem."""
    by_stem: dict[Path, list[str]] = {}
    for file in images:
        by_stem.setdefault(Path(file).with_suffix(""), []).append(file)
    masks: dict[str, str] = {}
    for folder in _inside(root, root / place, folders=True) if (root / place).is_dir() else []:
        for path in _inside(root, folder, folders=False):
            mask = path.relative_to(root).as_posix()
            owners = by_stem.get(path.relative_to(root / place).with_suffix(""), [])
            if len(owners) != 1 or owners[0] in masks:
                other = f', and "{masks[owners[0]]}" is its mask too' if len(owners) == 1 else ""
                raise DatasetInvalid(
                    found=f'"{mask}" in {root} is the mask of {" and ".join(owners) or "no image"}{other}.',
                    why="A mask belongs to the one image that has its folder and its name up to the suffix.",
                    then="Rename the mask or its image, or take the mask out.",
                )
            masks[owners[0]] = mask
    return masks


def _boxes_of(root: Path) -> Mapping[str, Boxes]:
    table = root / BOXES
    if not table.is_file():
        return {}
    state = table.stat()
    return _boxes(table, (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=4)  # read once, not once per image; the state tells a changed file from the one remembered
def _boxes(table: Path, _state: tuple[int, int]) -> Mapping[str, Boxes]:
    found: dict[str, Boxes] = {}
    for line in lines(table, ("image", "x", "y", "width", "height"), WHY_BOXES):
        try:
            x, y, width, height = (float(cell) for cell in line.cells[1:])
        except ValueError:
            x = y = width = height = np.nan
        if not (np.isfinite([x, y]).all() and 0 < width < np.inf and 0 < height < np.inf and x >= 0 and y >= 0):
            said = f'"{",".join(line.cells)}" is no box with an edge from 0 and a size above 0'
            raise faulty(table, line.number, said, WHY_BOXES, "Mend the line.")
        file = line.cells[0]
        found[file] = (*found.get(file, ()), (line.number, x, y, width, height))
    return found


def _filled(root: Path, file: str, boxes: Boxes, size: tuple[int, int]) -> Mask:  # (h, w)
    region = np.zeros(size, dtype=bool)
    for number, x, y, width, height in boxes:
        if x + width > size[1] or y + height > size[0]:
            said = f'the box {x:g},{y:g},{width:g},{height:g} leaves "{file}", which is {size[1]} x {size[0]}'
            raise faulty(root / BOXES, number, said, WHY_BOXES, "Mend the line; is it in pixels of another size?")
        region[int(y) : int(np.ceil(y + height)), int(x) : int(np.ceil(x + width))] = True
    return region


def _patients(root: Path, options: Options) -> dict[str, str] | None:
    """The patient of each image; empty where groups are to be inferred, None where every image is its own."""
    table = root / GROUPS
    if table.is_file():
        found: dict[str, Line] = {}
        for line in lines(table, ("image", "patient"), "Patients are looked up by the image's file."):
            if (first := found.setdefault(line.cells[0], line)) is not line:
                said = f'"{line.cells[0]}" stands in line {first.number} already'
                raise faulty(table, line.number, said, WHY_GROUPS, "Leave one of the two lines.")
        return {file: line.cells[1] for file, line in found.items()}
    if options.infer_groups:
        return {}
    if options.one_image_per_patient:
        return None
    raise DatasetInvalid(
        found=f"{table} is not there, so it is not known which images show the same patient.",
        why="A split that puts one patient on both sides measures memory, not skill.",
        then="Write groups.csv (columns image,patient), set `one_image_per_patient: true` if that is so, or `infer_groups: true`.",
    )


def _known(
    root: Path,
    images: Mapping[str, str],
    kinds: Mapping[Evidence, Mapping[str, str]],
    boxes: Mapping[str, Boxes],
    patients: Mapping[str, str] | None,
) -> None:
    """Tables and images must name each other, and the evidence of an image is said in one way."""
    for table, named in ((BOXES, boxes), (GROUPS, patients or {})):
        if foreign := next((file for file in named if file not in images), None):
            raise DatasetInvalid(
                found=f'{table} has a line for "{foreign}", and there is no such image in {root}.',
                why="A line without its image is a misspelt name, and the image it was meant for goes without.",
                then="Write the image as <class>/<name>.<suffix>, as its file is called, or take the line out.",
            )
    if (root / GROUPS).is_file() and (missing := next((file for file in images if file not in (patients or {})), None)):
        raise DatasetInvalid(
            found=f'groups.csv has no line for "{missing}".',
            why=WHY_GROUPS,
            then="Add the line, or take the image out of its folder.",
        )
    for file in images:
        said = [f'{A[kind]}, "{own[file]}"' for kind, own in kinds.items() if file in own]
        if len(said) > 1:
            raise DatasetInvalid(
                found=f'"{file}" has {" and ".join(said)}.',
                why="Where the evidence lies would be said twice, and not alike.",
                then="Leave one of the two.",
            )
