"""IQ-OTH/NCCD lung CT slices in their release's own layout [alyasriy2021].

    raw/<Bengin|Malignant|Normal> cases/<Class> case (<n>).jpg       (or folders benign, malignant, normal)

The release has no patient ids and no masks. Its images are split by groups from a table (columns name, group): without one there is
nothing to keep patients apart with, and the reader refuses. The release's own spelling, "Bengin", is kept in file names.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from gradfaith.data.decode import decode
from gradfaith.data.readers.contract import Picture, ReaderOptions, Record
from gradfaith.errors import DatasetInvalid

NAME = re.compile(r"^(Bengin|Benign|Malignant|Normal) case \((\d+)\)\.jpe?g$")
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}  # what is not called NAME is refused, not passed over
LABELS = {"Bengin": "benign", "Benign": "benign", "Malignant": "malignant", "Normal": "normal"}


class Options(ReaderOptions):
    """What the release does not hold."""

    groups: str = Field("groups.tsv", description="a tab-separated table (name, group), relative to the raw folder")


def index(raw: Path | None, options: Options) -> Iterator[Record]:
    if raw is None or not raw.is_dir():
        raise DatasetInvalid(
            found=f"the raw folder {raw} is not there.",
            why="This reader takes the release's three folders of JPEG files.",
            then="Unpack IQ-OTH/NCCD there, or set `raw:` in config/datasets/iqothnccd.yaml.",
        )
    groups = _groups(raw / options.groups)
    for path in sorted(file for file in raw.glob("*/*") if file.suffix.lower() in SUFFIXES):
        match = NAME.match(path.name)
        if match is None:
            raise DatasetInvalid(
                found=f'"{path.relative_to(raw)}" is not named "<Class> case (<n>).jpg".',
                why="Augmented copies of this dataset circulate; a mirrored slice in another part of the split is a leak.",
                then="Take such files out, or unpack the original release.",
            )
        if path.name not in groups:
            raise DatasetInvalid(
                found=f'the group table has no line for "{path.name}".',
                why="An image without a group could be on both sides of the split.",
                then=f"Add it to {raw / options.groups}.",
            )
        file = path.relative_to(raw).as_posix()
        yield Record(file, file, LABELS[match[1]], groups[path.name], "inferred", "none")


def read(raw: Path | None, options: Options, record: Record, part: str | None) -> Picture:  # noqa: ARG001 - a reader's signature
    assert raw is not None
    return Picture(decode(raw / record.file, channels=1))


def _groups(table: Path) -> dict[str, str]:
    if not table.is_file():
        raise DatasetInvalid(
            found=f"{table} is not there.",
            why="The release has no patient ids; without inferred groups, slices of one patient lie on both sides of the split.",
            then="Put a table there with the columns name and group, one line per image.",
        )
    with table.open(newline="", encoding="utf-8-sig") as file:  # a spreadsheet's byte order mark is no column name
        rows = csv.DictReader(file, delimiter="\t")
        if not {"name", "group"} <= set(rows.fieldnames or ()):
            raise DatasetInvalid(
                found=f"{table} has the columns {', '.join(rows.fieldnames or ['none'])}.",
                why="Groups are looked up by the file's name.",
                then="Give it a first line that says name and group, separated by a tab.",
            )
        return {row["name"]: row["group"] for row in rows}
