"""The user's own images: one folder per class, masks beside them, patients in a small table.

    raw/<class>/<name>.png|jpg|tif        the images
    raw/masks/<class>/<name>.png          optional: non-zero where the evidence lies, as large as its image
    raw/groups.csv                        optional: image,patient  (image: <class>/<name>.png)

Without groups.csv there is no way to know which images share a patient, so it is refused unless `one_image_per_patient` says that
none do.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import Field

from gradfaith.data.decode import decode, decode_mask
from gradfaith.data.readers.contract import Picture, ReaderOptions, Record
from gradfaith.errors import DatasetInvalid

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}


class Options(ReaderOptions):
    """What a folder of images does not say by itself."""

    one_image_per_patient: bool = Field(
        False, description="no patient has two images, so every image is a group of its own"
    )
    channels: int = Field(1, description="1 reads images as grey, 3 as colour")


def index(raw: Path | None, options: Options) -> Iterator[Record]:
    root = _root(raw)
    patients = _patients(root, options)
    for folder in sorted(
        path for path in root.iterdir() if path.is_dir() and path.name != "masks" and not path.name.startswith(".")
    ):
        for path in sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES):
            file = path.relative_to(root).as_posix()
            mask = next(
                (found for suffix in SUFFIXES if (found := root / "masks" / Path(file).with_suffix(suffix)).is_file()),
                None,
            )
            masks = {"evidence": mask.relative_to(root).as_posix()} if mask else {}
            yield Record(
                image_id=file, file=file, label=folder.name, group=_patient(patients, file), group_kind="patient",
                evidence="mask" if mask else "none", masks=masks,
            )  # fmt: skip


def read(raw: Path | None, options: Options, record: Record, part: str | None) -> Picture:  # noqa: ARG001 - a reader's signature
    root = _root(raw)
    pixels = decode(root / record.file, options.channels)
    regions = {
        region: decode_mask(root / file, root / record.file, pixels.shape[:2]) for region, file in record.masks.items()
    }
    return Picture(pixels, {region: mask for region, mask in regions.items() if np.any(mask)})


def _root(raw: Path | None) -> Path:
    if raw is None or not raw.is_dir():
        raise DatasetInvalid(
            found=f"the raw folder {raw} is not there.",
            why="This reader takes images from <raw>/<class>/.",
            then="Set `raw:` in config/datasets/<name>.yaml to the folder that holds one folder per class.",
        )
    return raw


def _patients(root: Path, options: Options) -> dict[str, str] | None:
    table = root / "groups.csv"
    if table.is_file():
        with table.open(newline="", encoding="utf-8-sig") as file:  # a spreadsheet's byte order mark is no column name
            rows = csv.DictReader(file)
            if not {"image", "patient"} <= set(rows.fieldnames or ()):
                raise DatasetInvalid(
                    found=f"{table} has the columns {', '.join(rows.fieldnames or ['none'])}.",
                    why="Patients are looked up by the image's file.",
                    then="Give it a first line that says image,patient.",
                )
            return {row["image"]: row["patient"] for row in rows}
    if options.one_image_per_patient:
        return None
    raise DatasetInvalid(
        found=f"{table} is not there, so it is not known which images show the same patient.",
        why="A split that puts one patient on both sides measures memory, not skill.",
        then="Write groups.csv (columns image,patient), or set `one_image_per_patient: true` if that is so.",
    )


def _patient(patients: dict[str, str] | None, file: str) -> str:
    if patients is None:
        return file
    if file not in patients:
        raise DatasetInvalid(
            found=f'groups.csv has no line for "{file}".',
            why="Every image must belong to a patient, or the split cannot keep patients whole.",
            then="Add the line, or take the image out of its folder.",
        )
    return patients[file]
