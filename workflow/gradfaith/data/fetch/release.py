"""Which copy of a dataset lies in a folder: its files' hashes against the list of its release.

    release              every file of the list is there with the release's hash, and no other image
    known compact copy   the same with the hashes of the scaled-down copy that the list knows too
    subset of ...        some of the list's files, all of one of the two kinds, and no other image
    unknown copy         anything else; the text says in what it differs

The list is a table (tab-separated: name, sha256, compact_sha256; lines that begin with # are comments). Files are compared by
name without folder, because copies differ in the names of their folders. Files that are no images count for nothing.

Whether someone changed a fetched file since it came: what Snakemake cannot see, as the files are no inputs of its own.

The record of a fetch holds every file's size and hash. While sizes and times agree nothing is hashed; a file that is newer
than the record is hashed, so that a touch makes nothing stale and an edit does.
"""

import csv
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gradfaith.errors import BrokenTable

Kind = Literal[
    "release", "known compact copy", "subset of the release", "subset of the known compact copy", "unknown copy", "no list"
]  # fmt: skip
IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".dcm")
COLUMNS = ["name", "sha256", "compact_sha256"]


@dataclass(frozen=True)
class Verdict:
    """What the files are, and in what they differ from the list (names, sorted)."""

    kind: Kind
    matching: int
    differing: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        if self.kind == "no list":
            return "no list: which files the release holds is not known here"
        counts = {
            "in the list with another hash": self.differing,
            "of the list missing": self.missing,
            "images in no list": self.foreign,
        }
        said = [f"{len(names)} {what} ({_some(names)})" for what, names in counts.items() if names]
        return f"{self.kind}: {', '.join([f'{self.matching} files as listed', *said])}"


def verdict(names: Mapping[str, str], table: Path) -> Verdict:
    """`names`: file name without folder -> sha256."""
    listed = read(table)
    images = {name: value for name, value in names.items() if name in listed or name.lower().endswith(IMAGES)}
    foreign = tuple(sorted(images.keys() - listed.keys()))
    missing = tuple(sorted(listed.keys() - images.keys()))
    matches = {
        "release": [name for name in images.keys() & listed.keys() if images[name] == listed[name][0]],
        "known compact copy": [name for name in images.keys() & listed.keys() if images[name] == listed[name][1]],
    }
    best = max(matches, key=lambda kind: len(matches[kind]))  # of equals the first: the release
    matching = matches[best]
    differing = tuple(sorted(images.keys() & listed.keys() - set(matching)))
    return Verdict(_kind(best, matching, differing, missing, foreign), len(matching), differing, missing, foreign)


def read(table: Path) -> dict[str, tuple[str, str]]:
    """name -> hash in the release, hash in the compact copy ("" where there is none)."""
    try:
        lines = [line for line in table.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        rows = list(csv.reader(lines, delimiter="\t", strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _broken(table, f"it cannot be read: {error}") from error
    if not rows or rows[0] != COLUMNS:
        raise _broken(table, f"its first line is {rows[0] if rows else 'missing'}, not {' '.join(COLUMNS)}")
    odd = [row for row in rows[1:] if len(row) != len(COLUMNS)]
    if odd:
        raise _broken(table, f"its line {odd[0]} has {len(odd[0])} columns, not {len(COLUMNS)}")
    listed = {name: (release, compact) for name, release, compact in rows[1:]}
    if len(listed) != len(rows) - 1:
        raise _broken(table, "a name stands in it twice")
    return listed


def _kind(
    best: str, matching: list[str], differing: tuple[str, ...], missing: tuple[str, ...], foreign: tuple[str, ...]
) -> Kind:
    if differing or foreign or not matching:
        return "unknown copy"
    if best == "release":
        return "subset of the release" if missing else "release"
    return "subset of the known compact copy" if missing else "known compact copy"


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _broken(table: Path, what: str) -> BrokenTable:
    return BrokenTable(
        found=f"{table}: {what}.",
        why="Downloads are compared with this list of a release's files.",
        then="Take the list as it stands in the repository, or leave out the dataset's list.",
    )


def edited(raw: str | None, record: str) -> str:
    """A digest of what differs from the record; empty where nothing does, and before there is one."""
    if raw is None or not Path(record).is_file():
        return ""
    names, since = json.loads(Path(record).read_text(encoding="utf-8"))["names"], Path(record).stat().st_mtime
    files = {path.relative_to(raw).as_posix(): path for path in sorted(Path(raw).rglob("*")) if path.is_file()}
    lines = [f"{name} is gone" for name in names if name not in files]
    for name, path in files.items():
        size, sha256 = names.get(name, (-1, ""))
        about = path.stat()
        same = about.st_size == size and (
            about.st_mtime <= since or hashlib.sha256(path.read_bytes()).hexdigest() == sha256
        )
        if not same:
            lines.append(f"{name} {about.st_size} {about.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] if lines else ""
