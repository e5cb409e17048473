"""Build the manifest of a dataset: one row per image, with its hash, its size and its lesion.

pixel_hash = BLAKE2 over shape and pixels: equal for exact duplicates, whatever their files are called
lesion_px, lesion_share: pixels of evidence, and their share of the image
lesions: how many lesions the dataset states for the image (0: none, or not stated)
lesion_kind, _mm, _density, _outline, _calcification, _contact: what it states of the one that decides the label
status: "ok", or "unreadable" with the reason; such an image has no hash and is in no part, and the audit counts it

Groups that the dataset does not know come from a table, which data/grouping/infer.py makes.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradfaith.data.raw_files import ListedFile
from gradfaith.data.readers.contract import DecodedImage, Reader, Record, map_images
from gradfaith.errors import DatasetInvalid, UnreadableImage
from gradfaith.vocabulary import LesionProperties

MAX_NAMED = 10  # unreadable files that an error names
ManifestRow = dict[str, Any]


def build_manifest(
    reader: Reader,
    raw: Path | None,
    options: Any,
    classes: Sequence[str],
    *,
    groups: Mapping[str, str] | None = None,
    listed: Mapping[str, ListedFile] | None = None,
    max_bad: int = 0,
    threads: int = 1,
) -> pd.DataFrame:
    """Build the manifest, in the reader's order.

    `groups` by image id, for datasets that do not know them; `listed` by file, for datasets that are not computed;
    more than `max_bad` unreadable images are an error.
    """
    records = list(reader.index(raw, options))
    check_classes(records, classes)
    groups, listed = groups or {}, listed or {}
    if not groups:  # before any image is read
        check_groups([record.image_id for record in records if not record.group], len(records))
    without_part = ((record, None) for record in records)
    rows = [
        _manifest_row(record, measured, listed, groups)
        for record, measured in map_images(reader, raw, options, without_part, _measure_image, threads)
    ]
    table = pd.DataFrame(rows)
    _check_unreadable(table[table["status"] != "ok"], max_bad, len(table))
    readable = readable_rows(table)
    check_groups(list(readable.loc[readable["group"] == "", "image_id"]), len(readable))
    check_classes([record for record, row in zip(records, rows, strict=True) if row["status"] == "ok"], classes)
    return table


def readable_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a manifest whose images can be read."""
    return table[table["status"] == "ok"].reset_index(drop=True)


def records_by_id(reader: Reader, raw: Path | None, options: Any) -> dict[str, Record]:
    """Index a dataset and return its records by image id."""
    return {record.image_id: record for record in reader.index(raw, options)}


def pixel_hash(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    """Return a hash that is equal for equal pixels of equal shape."""
    found = hashlib.blake2b(np.ascontiguousarray(pixels).tobytes(), digest_size=16)
    found.update(str(pixels.shape).encode())
    return found.hexdigest()


def _measure_image(_record: Record, image: DecodedImage) -> ManifestRow:
    height, width = image.pixels.shape[:2]
    lesion = int(image.masks["evidence"].sum()) if "evidence" in image.masks else 0
    return {
        "pixel_hash": pixel_hash(image.pixels),
        "lesion_px": lesion,
        "lesion_share": lesion / (height * width),
        "width": width,
        "height": height,
        "status": "ok",
        "reason": "",
    }


def _manifest_row(
    record: Record,
    measured: ManifestRow | UnreadableImage,
    listed: Mapping[str, ListedFile],
    groups: Mapping[str, str],
) -> ManifestRow:
    file = listed.get(record.file)
    if isinstance(measured, UnreadableImage):
        nothing = {"pixel_hash": "", "lesion_px": 0, "lesion_share": 0.0, "width": 0, "height": 0}
        measured = {**nothing, "status": "unreadable", "reason": measured.problem}
    return {
        "image_id": record.image_id,
        "file": record.file,
        "sha256": file.sha256 if file else "",
        "bytes": file.bytes if file else 0,
        "label": record.label,
        "group": record.group or groups.get(record.image_id, ""),
        "group_kind": record.group_kind,
        "evidence": record.evidence if measured["lesion_px"] or record.evidence == "none" else "none",
        **_lesion_columns(record),
        **measured,
    }


def _lesion_columns(record: Record) -> ManifestRow:
    """Return what the dataset states of the image's lesions; empty text and NaN if it states nothing."""
    first = record.lesions[0] if record.lesions else LesionProperties("", math.nan, "", "", "", "")
    return {
        "lesions": len(record.lesions),
        "lesion_kind": first.kind,
        "lesion_mm": first.diameter_mm,
        "lesion_density": first.density,
        "lesion_outline": first.outline,
        "lesion_calcification": first.calcification,
        "lesion_contact": first.contact,
    }


def check_classes(records: Sequence[Record], classes: Sequence[str]) -> None:
    """Check that every class has images, every image a class, and that no image id occurs twice."""
    found = {record.label for record in records}
    empty, foreign = [name for name in classes if name not in found], sorted(found - set(classes))
    if empty or foreign:
        said = [f"no image of class {', '.join(empty)}"] * bool(empty) + [
            f"images of class {', '.join(foreign)}"
        ] * bool(foreign)
        raise DatasetInvalid(
            problem=f"there is {' and there are '.join(said)}; the dataset's classes are {', '.join(classes)}.",
            reason="Every class needs images, and every image a class of the dataset.",
            fix="Correct `classes:` in the dataset's file, or the names of the class folders.",
        )
    twice = pd.Series([record.image_id for record in records])
    if twice.duplicated().any():
        raise DatasetInvalid(
            problem=f'the image id "{twice[twice.duplicated()].iloc[0]}" occurs twice.',
            reason="Every table refers to an image by its id.",
            fix="This is an error in the reader: please report it.",
        )


def _check_unreadable(bad: pd.DataFrame, max_bad: int, total: int) -> None:
    if len(bad) <= max_bad:
        return
    named = "\n    ".join(bad["reason"].head(MAX_NAMED)) + ("\n    ..." if len(bad) > MAX_NAMED else "")
    raise UnreadableImage(
        problem=f"{len(bad)} of {total} images cannot be read (dataset.max_bad_files is {max_bad}):\n    {named}",
        reason="GradFaith does not skip unreadable images silently, because that would change the study's data.",
        fix="Repair or export these files again, or set `dataset: {max_bad_files: N}`: the manifest and the audit then list them.",
    )


def check_groups(without: Sequence[str], total: int) -> None:
    """Raise if the group of any image is not known."""
    if without:
        raise DatasetInvalid(
            problem=f'{len(without)} of {total} images have no patient and no inferred group, for example "{without[0]}".',
            reason="If images of one patient are in two parts of the split, the results are too good.",
            fix="State in the dataset's file which images share a patient, in one of these ways:\n"
            r"    groups: {pattern: '(?P<patient>P\d+)_'}      if file names hold the patient, as in P12_3.png"
            "\n    groups: {}                                  to infer groups from the images"
            "\n    options: {one_image_per_patient: true}      if no patient has two images (reader `folder`)"
            "\n    or put a table groups.csv (columns image,patient) beside the class folders (reader `folder`).",
        )
