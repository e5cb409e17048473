"""List the raw files that a dataset's reader reads, with size and SHA-256: the only raw input that Snakemake knows.

    id <tab> bytes <tab> sha256        one line per file, in the reader's order
    content_sha256 <tab> sha256        the last line: of all lines before it

What the reader does not read, a note or a hidden file, is not in the list, so it makes nothing stale, and no file name
reaches Snakemake's own records. `id` is the path below the raw folder; of a private dataset it is a keyed hash of that
(data/private_names.py). A file is hashed again only when its size or its time has changed: the digests are remembered in
one file per dataset, under a hash of the path.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from gradfaith import registry
from gradfaith.config.grouping import PATIENT
from gradfaith.config.job_settings import DataSettings
from gradfaith.data.private_names import PrivateReader, read_or_make_key
from gradfaith.data.readers.contract import DecodedImage, Reader, ReaderOptions, Record
from gradfaith.errors import BrokenDocument, DatasetInvalid, NotInStudy, name_some
from gradfaith.storage import paths
from gradfaith.storage.atomic import write_text
from gradfaith.storage.json_file import DIGEST_KEY

HASHING_THREADS = 4
SETTLED_NS = 2 * 10**9  # a file changed less than this ago may change again within one tick of its time
HEADER = "id\tbytes\tsha256"


@dataclass(frozen=True)
class ListedFile:
    """One raw file."""

    id: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class RawData:
    """A dataset's raw folder behind its reader; of a private dataset the reader gives no name of a file or a patient."""

    reader: Reader
    folder: Path | None
    options: Any


@dataclass(frozen=True)
class PatientsInNames:
    """A reader whose images belong to the patient that a pattern finds in the name of the file."""

    reader: Reader
    pattern: str

    @property
    def Options(self) -> type[ReaderOptions]:
        return self.reader.Options

    def files(self, raw: Path | None, options: Any) -> Mapping[str, Path]:
        return self.reader.files(raw, options)

    def index(self, raw: Path | None, options: Any) -> Iterator[Record]:
        records = list(self.reader.index(raw, options))
        self._check_alone(records)
        search = re.compile(self.pattern).search
        found = [search(PurePosixPath(record.file).name) for record in records]
        named = [
            replace(record, group=match[PATIENT] or "" if match else "", group_kind="patient")
            for record, match in zip(records, found, strict=True)
        ]
        if missed := [record.file for record in named if not record.group]:
            raise DatasetInvalid(
                problem=f"groups.pattern {self.pattern!r} finds no patient in {len(missed)} of {len(named)} file names: "
                f"{name_some(missed)}.",
                reason="All images of a patient must be in one part of the split (train, val or test), so every patient must be known.",
                fix="Correct the pattern in the dataset's file, rename these files, or move them out of the raw folder.",
            )
        yield from named

    def read(self, raw: Path | None, options: Any, record: Record, part: str | None) -> DecodedImage:
        return self.reader.read(raw, options, record, part)

    def _check_alone(self, records: Sequence[Record]) -> None:
        if known := next((record for record in records if record.group), None):
            raise DatasetInvalid(
                problem=f'the dataset\'s reader already knows the patient of "{known.file}", but `groups:` has a pattern too.',
                reason="A table of patients, or `one_image_per_patient: true`, also states the patients, and could contradict the pattern.",
                fix="Remove one of the two: `pattern` from `groups:`, or the table groups.csv or the option `one_image_per_patient`.",
            )


def open_raw(settings: DataSettings, folder: str | None) -> RawData:
    """Return the raw data of a dataset in `folder`, or of a computed one."""
    reader: Reader = registry.load("readers", settings.reader)
    options, raw = reader.Options(**settings.options), Path(folder) if folder else None
    if settings.patient_pattern:
        reader = PatientsInNames(reader, settings.patient_pattern)
    if settings.private:
        reader = PrivateReader(reader, read_or_make_key(paths.private_key(settings.name)))
    return RawData(reader, raw, options)


def list_files(raw: RawData, remembered: Path) -> list[ListedFile]:
    """Return the files that the reader reads; `remembered`: the file that keeps their digests between runs."""
    assert raw.folder is not None  # a dataset that is computed has no files
    files = raw.reader.files(raw.folder, raw.options)
    before = _read_digests(remembered)
    with ThreadPoolExecutor(HASHING_THREADS) as pool:
        found = list(pool.map(lambda path: _digest(path, before), files.values()))
    now = {key: entry for key, entry, settled in found if settled}
    if now != {key: before.get(key) for key in now} or len(before) > 2 * len(now):
        _write_digests(remembered, now)
    return [ListedFile(name, entry[0], entry[2]) for name, (_, entry, _) in zip(files, found, strict=True)]


def listing_digest(files: list[ListedFile]) -> str:
    """Return a digest of a listing."""
    return hashlib.sha256(_text(files).encode()).hexdigest()[:16]


def edits_digest(raw: RawData, record: Path) -> str:
    """Return a digest of how the files that are read differ from the record of what was fetched; "" where nothing does."""
    names, since = _fetched_names(record), record.stat().st_mtime
    assert raw.folder is not None
    files = _names_below(raw)
    lines = [f"{name} is gone" for name in names if not (raw.folder / name).is_file()]
    for name, path in files.items():
        size, sha256 = names.get(name, (-1, ""))
        about = path.stat()
        same = about.st_size == size and (
            about.st_mtime <= since or hashlib.sha256(path.read_bytes()).hexdigest() == sha256
        )
        if not same:
            lines.append(f"{name} {about.st_size} {about.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] if lines else ""


def _fetched_names(record: Path) -> dict[str, tuple[int, str]]:
    """Return name -> bytes and SHA-256 of the files in a record of what was fetched."""
    try:
        names = json.loads(record.read_text(encoding="utf-8"))["names"]
        return {str(name): (int(size), str(sha256)) for name, (size, sha256) in names.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BrokenDocument(
            problem=f"{record} is not a record of fetched files ({type(error).__name__}: {error}).",
            reason="GradFaith compares the files with this record to find later edits.",
            fix="Run `snakemake --force fetch` with the study's --configfile: it fetches the files and writes the record again.",
        ) from error


def find_raw_file(raw: RawData, name: str) -> Path:
    """Return the file of an id: of a raw file, or of an image."""
    files = raw.reader.files(raw.folder, raw.options) if raw.folder is not None else {}
    of_image = {record.image_id: record.file for record in raw.reader.index(raw.folder, raw.options)}
    path = files.get(name) or files.get(of_image.get(name, ""))
    if path is None:
        raise NotInStudy(
            problem=f'no raw file has the id "{name}".',
            reason=f"The reader reads {len(files)} files in {raw.folder}.",
            fix="Give an image id of the manifest, or an id from an error message; ids of a private dataset need its key.",
        )
    return path


def _names_below(raw: RawData) -> dict[str, Path]:
    assert raw.folder is not None
    found = raw.reader.files(raw.folder, raw.options).values()
    return {path.relative_to(raw.folder).as_posix(): path for path in found}


def write_listing(path: str, files: list[ListedFile]) -> None:
    """Write a listing as a table that ends with its own digest."""
    text = _text(files)
    write_text(path, text + _digest_line(text.encode()))


def read_listing(path: str) -> dict[str, ListedFile]:
    """Return id -> file of a listing, and check its digest."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise _broken_listing(path, f"cannot be read: {error.strerror}") from error
    table = content[: content.rfind(b"\n", 0, -1) + 1]
    if content != table + _digest_line(table).encode():
        raise _broken_listing(path, "was changed after it was written: its last line is not the digest of the others")
    rows = [line.split("\t") for line in table.decode().splitlines()[1:]]
    return {name: ListedFile(name, int(size), sha256) for name, size, sha256 in rows}


def _digest_line(table: bytes) -> str:
    return f"{DIGEST_KEY}\t{hashlib.sha256(table).hexdigest()}\n"


def _broken_listing(path: str, problem: str) -> BrokenDocument:
    return BrokenDocument(
        problem=f"{path} {problem}.",
        reason="The file was truncated, edited, or written by another version, so its digests of the images may be wrong.",
        fix="Run `snakemake` again with `--forcerun list_raw`, which lists the raw files again.",
    )


def _text(files: list[ListedFile]) -> str:
    if bad := next((file.id for file in files if not file.id.isprintable()), None):
        raise DatasetInvalid(
            problem=f"the raw file {bad!r} has a character in its name that cannot be displayed.",
            reason="Such a name cannot be written to a table, and two such names can look the same.",
            fix="Rename the file.",
        )
    return "\n".join([HEADER, *(f"{file.id}\t{file.bytes}\t{file.sha256}" for file in files)]) + "\n"


Entry = tuple[int, int, str]  # bytes, time of the last change in ns, SHA-256


def _digest(path: Path, before: Mapping[str, Entry]) -> tuple[str, Entry, bool]:
    """Return the key, the entry, and whether the entry may be remembered."""
    key = hashlib.blake2b(os.fsencode(path.absolute()), digest_size=12).hexdigest()
    state = path.stat()
    known = before.get(key)
    settled = time.time_ns() - state.st_mtime_ns > SETTLED_NS
    if known is not None and known[:2] == (state.st_size, state.st_mtime_ns):
        return key, known, settled
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return key, (state.st_size, state.st_mtime_ns, sha256), settled


def _read_digests(remembered: Path) -> dict[str, Entry]:
    try:
        entries = json.loads(remembered.read_text(encoding="utf-8"))
        return {str(key): (int(size), int(when), str(sha256)) for key, (size, when, sha256) in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # not there, or damaged: every file is hashed again


def _write_digests(remembered: Path, entries: Mapping[str, Entry]) -> None:
    with suppress(OSError):  # a folder that is only read: the next run hashes again
        write_text(remembered, json.dumps(entries) + "\n")
