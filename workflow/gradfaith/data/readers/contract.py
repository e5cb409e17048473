"""Define what a dataset reader is, read many images in threads, and read small tables beside the images.

A reader is a file in this folder, and its stem is the reader's name. It has `Options`, `files`, `index` and `read`:

    class Options(ReaderOptions): ...                       the keys that its dataset YAML may have under `options:`
    def files(raw, options) -> Mapping[str, Path]           every file that it reads, by its name below raw
    def index(raw, options) -> Iterator[Record]             one record per image; decodes nothing if possible
    def read(raw, options, record, part) -> DecodedImage    one decoded image, with every mask its dataset has

`raw` is the folder of the data, None for a dataset that is computed. `part` is the image's part of the split ("train",
"val", "test"; None before there is a split): only a reader that plants a mark in one part may use it. A dataset that does
not state which images share a patient leaves `group` empty: groups are then inferred from the pixels
(data/grouping/infer.py), for all readers alike.

`map_images` reads in several threads, in order. Decoding releases the interpreter's lock, so threads are enough. The work on
an image is done in its thread as well, so that the image can be freed at once: memory is bounded by IMAGES_PER_THREAD images
per thread, for any size of dataset.

`read_table` reads tables that users write: UTF-8 text with a first line of column names, separated by tabs in `.tsv`, by
commas otherwise. Blanks around cells are removed, empty lines are skipped, and any other irregularity is refused with its
line number.

A patient's id may come from two systems in two spellings that look the same (an accent as one code point or two, a
zero-width space from a spreadsheet). Counted as two people, one patient could be on both sides of the split, so every
`Record` holds its group in the one form that `canonical_id` gives.
"""

import csv
import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from gradfaith.errors import DatasetInvalid, UnreadableImage
from gradfaith.vocabulary import EvidenceKind, LesionProperties

NOTE_SUFFIXES = {
    ".txt",
    ".md",
    ".csv",
    ".tsv",
    ".json",
    ".xml",
    ".ini",
    ".db",
}  # files beside images that are no images
SOUND = "good"  # the class of objects without a defect
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
SPLIT_FOLDERS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
DIGITS = re.compile(r"([0-9]+)")
# Characters without a shape that Unicode does not count among its format characters: joiners, fillers, variation selectors.
SHAPELESS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0") | {chr(code) for code in range(0xFE00, 0xFE10)}


@dataclass(frozen=True)
class TableLine:
    """One line of a table: its number in the file, and the cells of the requested columns."""

    number: int
    cells: tuple[str, ...]


def read_table(table: Path, columns: Sequence[str], why: str) -> list[TableLine]:
    """Read the `columns` of a table; `why` states in error messages what the columns are for."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:  # without a spreadsheet's byte order mark
            return list(
                _table_lines(table, csv.reader(file, delimiter="\t" if table.suffix == ".tsv" else ","), columns, why)
            )
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DatasetInvalid(
            problem=f"{table} cannot be read as a table: {error}.",
            reason="GradFaith reads a table as UTF-8 text with one line per entry.",
            fix='Save it again as "CSV UTF-8" from the spreadsheet.',
        ) from error


def line_error(table: Path, number: int, problem: str, why: str, fix: str) -> DatasetInvalid:
    """Return the error of one line of a table."""
    return DatasetInvalid(problem=f"{table}, line {number}: {problem}.", reason=why, fix=fix)


def canonical_id(text: str) -> str:
    """Return an id in the one form in which ids are compared: NFC, without invisible characters and blanks around it."""
    visible = (sign for sign in text if sign not in SHAPELESS and unicodedata.category(sign) != "Cf")
    return unicodedata.normalize("NFC", "".join(visible)).strip()


def natural_sort_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a sort key that puts "case (2)" before "case (10)"; the name itself decides between 2 and 02."""
    parts = DIGITS.split(name)
    return [(int(part) if place % 2 else 0, "" if place % 2 else part) for place, part in enumerate(parts)], name


def _table_lines(table: Path, rows: Iterator[list[str]], columns: Sequence[str], why: str) -> Iterator[TableLine]:
    header = [name.strip() for name in next(rows, [])]
    if not set(columns) <= set(header) or len(set(header)) < len(header):
        raise DatasetInvalid(
            problem=f"{table} has the columns {', '.join(header) or 'none'}.",
            reason=why,
            fix=f"Add the first line {','.join(columns)} to the table.",
        )
    places = [header.index(name) for name in columns]
    for number, row in enumerate(rows, start=2):
        if not any(cell.strip() for cell in row):
            continue
        cells = [row[place].strip() if place < len(row) else "" for place in places]
        if len(row) > len(header) or not all(cells):
            raise line_error(
                table, number, f'"{",".join(row)}" does not fill the columns {", ".join(columns)}', why,
                "Correct this line; a cell that contains a comma needs quotation marks.",
            )  # fmt: skip
        yield TableLine(number, tuple(cells))


def check_class_depth(root: Path, found: list[str]) -> None:
    """Raise an error if the class folders are one level deeper, below the parts of a split or below one folder."""
    inner = {name: sorted(path.name for path in (root / name).iterdir() if path.is_dir()) for name in found}
    holds_images = any(path.suffix.lower() in IMAGE_SUFFIXES for name in found for path in (root / name).iterdir())
    if holds_images or not all(inner.values()):
        return
    if len(found) == 1:
        raise DatasetInvalid(
            problem=f"{root} contains one folder, {found[0]}, and the class folders ({', '.join(inner[found[0]])}) are inside it.",
            reason="The class of an image is the name of its folder, directly below the raw folder.",
            fix=f"Set `raw: {root / found[0]}` in the dataset's file.",
        )
    if {name.lower() for name in found} <= SPLIT_FOLDERS:
        parts = " ".join(f"{root / name}/." for name in found)
        raise DatasetInvalid(
            problem=f"{root} contains the folders {', '.join(found)}, with class folders ({', '.join(inner[found[0]])}) inside them.",
            reason="GradFaith splits the images itself, by patient, so class folders must be directly below the raw folder.",
            fix=f"Merge the parts: `mkdir {root}-merged && cp -Rn {parts} {root}-merged/`, and set `raw: {root}-merged`. "
            "Compare the number of files: -n skips the second of two files with the same name.",
        )


GroupKind = Literal["patient", "inferred", "photograph", "background"]
Pixels = NDArray[np.uint8]
BoolMask = NDArray[np.bool_]


class ReaderOptions(BaseModel):
    """The base class of every reader's options: unknown keys are rejected, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Record:
    """One image before it is decoded; `file` is relative to the raw folder, or names what is computed."""

    image_id: str
    file: str
    label: str
    group: str  # "": the dataset does not state it; inferred later
    group_kind: GroupKind
    evidence: EvidenceKind
    masks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # region -> file, relative to raw
    lesions: tuple[LesionProperties, ...] = ()  # if the dataset states them; the first one decides the label

    def __post_init__(self) -> None:
        object.__setattr__(self, "group", canonical_id(self.group))


PartSet = tuple[int, ...]  # numbers of parts, in order


@dataclass(frozen=True)
class Renders:
    """An image drawn again without some of its parts, and what its class needs of them (data/part_classes.py)."""

    without: Mapping[PartSet, Callable[[], Pixels]]  # the parts left out -> the image; drawn when called
    sufficient: frozenset[PartSet] = frozenset()  # of these, what is left still names the class
    contrast: tuple[
        tuple[str, PartSet], ...
    ] = ()  # two other classes, with the parts that each shares with the image's class


@dataclass(frozen=True)
class DecodedImage:
    """One decoded image at its native size; its regions are "evidence", "lungs", "body" and "shortcut"."""

    pixels: Pixels  # (h, w), or (h, w, 3)
    masks: Mapping[str, BoolMask] = field(default_factory=lambda: MappingProxyType({}))  # region -> (h, w)
    parts: Pixels | None = (
        None  # (h, w) the number of each pixel's part, from 1; 0: none. "evidence" is then the union of those below FIRST_SURROUNDING
    )
    renders: Renders | None = None  # if the dataset has the image without its parts


class Reader(Protocol):
    """The protocol of a reader's module."""

    @property
    def Options(self) -> type[ReaderOptions]: ...

    def files(self, raw: Path | None, options: Any) -> Mapping[str, Path]: ...

    def index(self, raw: Path | None, options: Any) -> Iterator[Record]: ...

    def read(self, raw: Path | None, options: Any, record: Record, part: str | None) -> DecodedImage: ...


T = TypeVar("T")
IMAGES_PER_THREAD = 4  # read ahead per thread


def map_images(
    reader: Reader,
    raw: Path | None,
    options: Any,
    records: Iterable[tuple[Record, str | None]],
    work: Callable[[Record, DecodedImage], T],
    threads: int,
) -> Iterator[tuple[Record, T | UnreadableImage]]:
    """Read every image and yield its record with what `work` returns for it, in order.

    `records` holds each record and its part of the split. An image that cannot be read comes as its
    UnreadableImage: the caller decides what to do, and no image is dropped silently.
    """

    def one(record: Record, part: str | None) -> T | UnreadableImage:
        try:
            image = reader.read(raw, options, record, part)
        except UnreadableImage as error:
            return error
        return work(record, image)

    with ThreadPoolExecutor(threads) as pool:
        under_way: deque[tuple[Record, Future[T | UnreadableImage]]] = deque()
        try:
            for record, part in records:
                under_way.append((record, pool.submit(one, record, part)))
                if len(under_way) >= IMAGES_PER_THREAD * threads:
                    first, future = under_way.popleft()
                    yield first, future.result()
            while under_way:
                first, future = under_way.popleft()
                yield first, future.result()
        finally:  # a caller that stops half-way waits for what is under way, and for no more
            for _, future in under_way:
                future.cancel()
