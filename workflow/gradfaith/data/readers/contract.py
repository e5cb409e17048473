"""Small tables that people write by hand beside their images, and the order in which people count files.

A table is UTF-8 text with a first line of column names; `.tsv` is separated by tabs, everything else by commas. Cells lose
the blanks around them, empty lines are passed over, and every other slip is refused with the number of its line.

What a dataset reader is: a file in this folder with `Options`, `index` and `read`.

    class Options(ReaderOptions): ...                    what its dataset YAML may say under `options:`
    def index(raw, options) -> Iterator[Record]          one record per image, cheap: nothing is decoded that need not be
    def read(raw, options, record, part) -> Picture      one image, decoded, with every mask its dataset has

The file's stem is the reader's name. `raw` is the folder the data lies in, None for a dataset that is computed. `part`
is the image's part of the split ("train", "val", "test"; None before there is a split): only a reader that plants
something in one part may look at it. A dataset that does not say which images share a patient leaves `group` empty: groups
are then inferred from the pixels (data/grouping/infer.py), for all readers alike.

Reads the images of a dataset in several threads, in order, and never many at a time.

    for record, found in each(reader, raw, options, wanted, work, threads): ...

Decoding releases the interpreter's lock, so threads are enough. `work` is done in the thread as well, so that an image
is dropped as soon as what is wanted of it is known: memory is bounded by AHEAD images per thread, whatever the dataset's
size. An image that cannot be read comes as its UnreadableImage: the caller decides, and nothing is dropped in silence.
"""

import csv
import re
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

NOTES = {".txt", ".md", ".csv", ".tsv", ".json", ".xml", ".ini", ".db"}  # what lies beside images and is none
DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True)
class Line:
    """One line of a table; `cells` are those of the wanted columns, in the wanted order."""

    number: int
    cells: tuple[str, ...]


def lines(table: Path, columns: Sequence[str], why: str) -> list[Line]:
    """The lines of a table; `why` says in a refusal what its columns are needed for."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:  # a spreadsheet's byte order mark is no column name
            return list(
                _lines(table, csv.reader(file, delimiter="\t" if table.suffix == ".tsv" else ","), columns, why)
            )
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DatasetInvalid(
            found=f"{table} cannot be read as a table: {error}.",
            why="It is read as UTF-8 text with one line per entry.",
            then='Save it again as "CSV UTF-8" from the spreadsheet.',
        ) from error


def faulty(table: Path, number: int, said: str, why: str, then: str) -> DatasetInvalid:
    """The refusal of one line."""
    return DatasetInvalid(found=f"{table}, line {number}: {said}.", why=why, then=then)


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """A key that puts "case (2)" before "case (10)"; the name itself decides between 2 and 02."""
    parts = DIGITS.split(name)
    return [(int(part) if place % 2 else 0, "" if place % 2 else part) for place, part in enumerate(parts)], name


def _lines(table: Path, rows: Iterator[list[str]], columns: Sequence[str], why: str) -> Iterator[Line]:
    header = [name.strip() for name in next(rows, [])]
    if not set(columns) <= set(header) or len(set(header)) < len(header):
        raise DatasetInvalid(
            found=f"{table} has the columns {', '.join(header) or 'none'}.",
            why=why,
            then=f"Give it a first line that says {','.join(columns)}.",
        )
    places = [header.index(name) for name in columns]
    for number, row in enumerate(rows, start=2):
        if not any(cell.strip() for cell in row):
            continue
        cells = [row[place].strip() if place < len(row) else "" for place in places]
        if len(row) > len(header) or not all(cells):
            raise faulty(
                table, number, f'"{",".join(row)}" does not fill the columns {", ".join(columns)}', why,
                "Mend the line; a cell with a comma in it needs quotation marks around it.",
            )  # fmt: skip
        yield Line(number, tuple(cells))


GroupKind = Literal["patient", "inferred"]
Evidence = Literal["mask", "box", "point", "parts", "none"]
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]


class ReaderOptions(BaseModel):
    """The base of every reader's options: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Record:
    """One image before it is decoded. `file` is relative to the raw folder, or names what is computed."""

    image_id: str
    file: str
    label: str
    group: str  # "": the dataset does not say; inferred later
    group_kind: GroupKind
    evidence: Evidence
    masks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # region -> file, relative to raw


@dataclass(frozen=True)
class Picture:
    """One decoded image, native size, and its regions: "evidence" where there is any, "lungs", "body", "shortcut"."""

    pixels: Bytes  # (h, w), or (h, w, 3)
    masks: Mapping[str, Mask] = field(default_factory=lambda: MappingProxyType({}))  # region -> (h, w)
    parts: Bytes | None = None  # (h, w) which part a pixel is of, from 1; 0: none. "evidence" is then their union


class Reader(Protocol):
    """The shape of a reader's module."""

    Options: type[ReaderOptions]

    def index(self, raw: Path | None, options: Any) -> Iterator[Record]: ...

    def read(self, raw: Path | None, options: Any, record: Record, part: str | None) -> Picture: ...


T = TypeVar("T")
AHEAD = 4  # images under way per thread


def each(
    reader: Reader,
    raw: Path | None,
    options: Any,
    wanted: Iterable[tuple[Record, str | None]],
    work: Callable[[Record, Picture], T],
    threads: int,
) -> Iterator[tuple[Record, T | UnreadableImage]]:
    """What `work` makes of every record's picture, or why there is none; `wanted` holds records and their parts."""

    def one(record: Record, part: str | None) -> T | UnreadableImage:
        try:
            picture = reader.read(raw, options, record, part)
        except UnreadableImage as error:
            return error
        return work(record, picture)

    with ThreadPoolExecutor(threads) as pool:
        under_way: deque[tuple[Record, Future[T | UnreadableImage]]] = deque()
        try:
            for record, part in wanted:
                under_way.append((record, pool.submit(one, record, part)))
                if len(under_way) >= AHEAD * threads:
                    first, future = under_way.popleft()
                    yield first, future.result()
            while under_way:
                first, future = under_way.popleft()
                yield first, future.result()
        finally:  # a caller that stops half-way waits for what is under way, and for no more
            for _, future in under_way:
                future.cancel()
