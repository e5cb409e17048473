"""The index of a dataset: one row per image, each decoded once to know its hash, its size and its lesion.

pixel_hash = BLAKE2 over shape and pixels: equal for exact duplicates, whatever their files are called
lesion_px, lesion_share: pixels of evidence, and their share of the image
status: "ok", or "unreadable" with the reason; such an image has no hash, is in no part, and is in every count of the audit

Groups that the dataset does not know come from a table (data/grouping/infer.py makes it).
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradfaith.data.readers.contract import Picture, Reader, Record, each
from gradfaith.errors import DatasetInvalid, UnreadableImage

NAMED = 10  # unreadable files that a refusal names
Row = dict[str, Any]


def build(
    reader: Reader,
    raw: Path | None,
    options: Any,
    classes: Sequence[str],
    *,
    groups: Mapping[str, str] | None = None,
    max_bad: int = 0,
    threads: int = 1,
) -> pd.DataFrame:
    """The manifest, in the reader's order; `groups` by image id, for datasets that do not know them."""
    found = list(reader.index(raw, options))
    check(found, classes)
    groups = groups or {}
    wanted = ((record, None) for record in found)
    rows = [_row(record, seen, raw, groups) for record, seen in each(reader, raw, options, wanted, _seen, threads)]
    table = pd.DataFrame(rows)
    _bearable(table[table["status"] != "ok"], max_bad, len(table))
    _grouped(usable(table))
    check([record for record, row in zip(found, rows, strict=True) if row["status"] == "ok"], classes)
    return table


def usable(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a manifest whose images can be read."""
    return table[table["status"] == "ok"].reset_index(drop=True)


def records(reader: Reader, raw: Path | None, options: Any) -> dict[str, Record]:
    """The reader's records by image id."""
    return {record.image_id: record for record in reader.index(raw, options)}


def pixel_hash(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    found = hashlib.blake2b(np.ascontiguousarray(pixels).tobytes(), digest_size=16)
    found.update(str(pixels.shape).encode())
    return found.hexdigest()


def _seen(_record: Record, picture: Picture) -> Row:
    height, width = picture.pixels.shape[:2]
    lesion = int(picture.masks["evidence"].sum()) if "evidence" in picture.masks else 0
    return {
        "pixel_hash": pixel_hash(picture.pixels),
        "lesion_px": lesion,
        "lesion_share": lesion / (height * width),
        "width": width,
        "height": height,
        "status": "ok",
        "reason": "",
    }


def _row(record: Record, seen: Row | UnreadableImage, raw: Path | None, groups: Mapping[str, str]) -> Row:
    file = raw / record.file if raw is not None else None
    there = file.read_bytes() if file is not None and file.is_file() else None
    if isinstance(seen, UnreadableImage):
        nothing = {"pixel_hash": "", "lesion_px": 0, "lesion_share": 0.0, "width": 0, "height": 0}
        seen = {**nothing, "status": "unreadable", "reason": seen.found}
    return {
        "image_id": record.image_id,
        "file": record.file,
        "sha256": hashlib.sha256(there).hexdigest() if there is not None else "",
        "bytes": len(there) if there is not None else 0,
        "label": record.label,
        "group": record.group or groups.get(record.image_id, ""),
        "group_kind": record.group_kind,
        "evidence": record.evidence if seen["lesion_px"] or record.evidence == "none" else "none",
        **seen,
    }


def check(records: Sequence[Record], classes: Sequence[str]) -> None:
    """Every class has images, every image a class, and no id stands twice."""
    found = {record.label for record in records}
    empty, foreign = [name for name in classes if name not in found], sorted(found - set(classes))
    if empty or foreign:
        said = [f"no image of class {', '.join(empty)}"] * bool(empty) + [
            f"images of class {', '.join(foreign)}"
        ] * bool(foreign)
        raise DatasetInvalid(
            found=f"there is {' and there are '.join(said)}; the dataset's classes are {', '.join(classes)}.",
            why="A model cannot learn a class without images, nor name one it does not have.",
            then="Mend `classes:` in the dataset's file, or its folders.",
        )
    twice = pd.Series([record.image_id for record in records])
    if twice.duplicated().any():
        raise DatasetInvalid(
            found=f'the image id "{twice[twice.duplicated()].iloc[0]}" stands twice.',
            why="Scores are joined by image id.",
            then="This is a fault of the reader: please report it.",
        )


def _bearable(bad: pd.DataFrame, most: int, whole: int) -> None:
    if len(bad) <= most:
        return
    named = "\n    ".join(bad["reason"].head(NAMED)) + ("\n    ..." if len(bad) > NAMED else "")
    raise UnreadableImage(
        found=f"{len(bad)} of {whole} images cannot be read (dataset.max_bad_files is {most}):\n    {named}",
        why="Images left out in silence would change the study's data without a trace.",
        then="Mend these files, or set `dataset: {max_bad_files: N}`: the manifest and the audit then name what is left out.",
    )


def _grouped(table: pd.DataFrame) -> None:
    lonely = table.loc[table["group"] == "", "image_id"]
    if len(lonely):
        raise DatasetInvalid(
            found=f'{len(lonely)} images belong to no group, "{lonely.iloc[0]}" for one.',
            why="An image without a group could lie on both sides of the split.",
            then="Say `groups: {}` in the dataset's file to have groups inferred from the images, or give the reader a table of patients.",
        )
