"""The index of a dataset: one row per image, each decoded once to know its hash, its size and its lesion.

pixel_hash = BLAKE2 over shape and pixels: equal for exact duplicates, whatever their files are called
lesion_px, lesion_share: pixels of evidence, and their share of the image
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradfaith.data.readers.contract import Picture, Reader, Record
from gradfaith.errors import DatasetInvalid


def build(reader: Reader, raw: Path | None, options: Any, classes: Sequence[str]) -> pd.DataFrame:
    """The manifest, in the reader's order."""
    records = list(reader.index(raw, options))
    _check(records, classes)
    return pd.DataFrame([_row(record, reader.read(raw, options, record, None), raw) for record in records])


def records(reader: Reader, raw: Path | None, options: Any) -> dict[str, Record]:
    """The reader's records by image id."""
    return {record.image_id: record for record in reader.index(raw, options)}


def _row(record: Record, picture: Picture, raw: Path | None) -> dict[str, Any]:
    height, width = picture.pixels.shape[:2]
    lesion = int(picture.masks["evidence"].sum()) if "evidence" in picture.masks else 0
    pixels = hashlib.blake2b(np.ascontiguousarray(picture.pixels).tobytes(), digest_size=16)
    pixels.update(str(picture.pixels.shape).encode())
    file = raw / record.file if raw is not None else None
    return {
        "image_id": record.image_id,
        "file": record.file,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest() if file is not None and file.is_file() else "",
        "pixel_hash": pixels.hexdigest(),
        "label": record.label,
        "group": record.group,
        "group_kind": record.group_kind,
        "evidence": record.evidence if lesion or record.evidence == "none" else "none",
        "lesion_px": lesion,
        "lesion_share": lesion / (height * width),
        "width": width,
        "height": height,
    }


def _check(records: Sequence[Record], classes: Sequence[str]) -> None:
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
