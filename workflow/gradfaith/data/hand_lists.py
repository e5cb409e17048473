"""Small tables that people write by hand beside their images, and the order in which people count files.

A table is UTF-8 text with a first line of column names; `.tsv` is separated by tabs, everything else by commas. Cells lose
the blanks around them, empty lines are passed over, and every other slip is refused with the number of its line.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradfaith.errors import DatasetInvalid

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
