"""Identify the copy of a dataset in a folder, and find files that were changed after they were fetched.

The first compares the files' hashes with the list of the dataset's release:

    release              every file of the list exists with the release's hash, and there is no other image
    known compact copy   the same with the hashes of the scaled-down copy, which the list contains too
    subset of ...        some of the list's files, all of one of the two kinds, and no other image
    unknown copy         anything else; the text lists the differences

The list is a table (tab-separated: name, sha256, compact_sha256; lines that begin with # are comments). Files are compared
by name without folder, because copies use different folder names. Files that are not images are ignored.

The second part is for Snakemake, which cannot see edits, because the files are no inputs of rules. The record of a fetch
contains every file's size and hash. A file is hashed only if it is newer than the record, so that an edit makes the study
stale and a touch does not.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gradfaith.errors import BrokenTable

CopyKind = Literal[
    "release", "known compact copy", "subset of the release", "subset of the known compact copy", "unknown copy", "no list"
]  # fmt: skip
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".dcm")
COLUMNS = ["name", "sha256", "compact_sha256"]


@dataclass(frozen=True)
class ReleaseMatch:
    """The copy of a release that the files are, and the sorted names in which they differ from its list."""

    kind: CopyKind
    matching: int
    differing: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Describe the copy in one line, for records and the audit."""
        if self.kind == "no list":
            return "no list: which files the release holds is not known here"
        counts = {
            "in the list with another hash": self.differing,
            "of the list missing": self.missing,
            "images in no list": self.foreign,
        }
        differences = [f"{len(names)} {what} ({_first_names(names)})" for what, names in counts.items() if names]
        return f"{self.kind}: {', '.join([f'{self.matching} files as listed', *differences])}"


def match_release(names: Mapping[str, str], table: Path) -> ReleaseMatch:
    """Compare files, `names`: file name without folder -> sha256, with the list of a release."""
    listed = read_release_list(table)
    images = {name: value for name, value in names.items() if name in listed or name.lower().endswith(IMAGE_SUFFIXES)}
    foreign = tuple(sorted(images.keys() - listed.keys()))
    missing = tuple(sorted(listed.keys() - images.keys()))
    matches = {
        "release": [name for name in images.keys() & listed.keys() if images[name] == listed[name][0]],
        "known compact copy": [name for name in images.keys() & listed.keys() if images[name] == listed[name][1]],
    }
    best = max(matches, key=lambda kind: len(matches[kind]))  # among equals the first: the release
    matching = matches[best]
    differing = tuple(sorted(images.keys() & listed.keys() - set(matching)))
    return ReleaseMatch(
        _copy_kind(best, matching, differing, missing, foreign), len(matching), differing, missing, foreign
    )


def read_release_list(table: Path) -> dict[str, tuple[str, str]]:
    """Read a release's list: name -> hash in the release, hash in the compact copy (may be "")."""
    try:
        lines = [line for line in table.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        rows = list(csv.reader(lines, delimiter="\t", strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _broken_list(table, f"it cannot be read: {error}") from error
    if not rows or rows[0] != COLUMNS:
        raise _broken_list(table, f"its first line is {rows[0] if rows else 'missing'}, not {' '.join(COLUMNS)}")
    odd = [row for row in rows[1:] if len(row) != len(COLUMNS)]
    if odd:
        raise _broken_list(table, f"its line {odd[0]} has {len(odd[0])} columns, not {len(COLUMNS)}")
    listed = {name: (release, compact) for name, release, compact in rows[1:]}
    if len(listed) != len(rows) - 1:
        raise _broken_list(table, "it contains a name twice")
    return listed


def _copy_kind(
    best: str, matching: list[str], differing: tuple[str, ...], missing: tuple[str, ...], foreign: tuple[str, ...]
) -> CopyKind:
    if differing or foreign or not matching:
        return "unknown copy"
    if best == "release":
        return "subset of the release" if missing else "release"
    return "subset of the known compact copy" if missing else "known compact copy"


def _first_names(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _broken_list(table: Path, problem: str) -> BrokenTable:
    return BrokenTable(
        problem=f"{table}: {problem}.",
        reason="GradFaith compares downloads with this list of a release's files.",
        fix="Restore the list from the repository, or remove the list from the dataset's file.",
    )
