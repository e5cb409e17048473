"""Hide the names of files and patients of a private dataset behind keyed hashes.

    id = first 20 hex digits of BLAKE2b(name, key)

The key is in resources/<dataset>/private.key. It is made once at random, and only its owner can read it. Without it, a name
cannot be matched with an id; with it, `gradfaith raw-name` finds the file of an id. Ids replace names everywhere: in the
manifest, in every store and table, in figures, in logs and in errors. Names of classes are not hidden.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from gradfaith.data.readers.contract import DecodedImage, Reader, ReaderOptions, Record
from gradfaith.errors import DatasetInvalid, GradFaithError, NotInStudy
from gradfaith.storage.atomic import replacing

DIGITS = 20
KEY_BYTES = 32
TABLE_SUFFIXES = {".csv", ".tsv"}
SHORT_NUMBER = re.compile(r"[0-9]{1,3}(\.[0-9]*)?")


def check_key(path: Path) -> None:
    """Raise NotInStudy if a private dataset has no key: a new key would make other ids."""
    if not path.exists():
        raise NotInStudy(
            problem=f"there is no key file {path}.",
            reason="Image ids of a private dataset are hashes of the names with this secret key. "
            "Without it no name can be matched with an id.",
            fix="Run the command on the machine that has the key file, or restore the file.",
        )


def read_or_make_key(path: Path) -> bytes:
    """Return the key of a private dataset; make it the first time."""
    if not path.exists():
        with replacing(path) as draft:
            draft.touch(mode=0o600)
            draft.write_bytes(secrets.token_hex(KEY_BYTES).encode())
    with suppress(ValueError):
        if len(key := bytes.fromhex(path.read_text(encoding="ascii"))) == KEY_BYTES:
            return key
    raise DatasetInvalid(
        problem=f"{path} does not contain a secret key ({2 * KEY_BYTES} hexadecimal digits).",
        reason="Image ids of a private dataset are hashes of the names with this key. Another key would change every id.",
        fix="Restore the original file. If the dataset has no results yet, move the file away: the next run makes a new key.",
    )


def keyed_hash(name: str, key: bytes) -> str:
    """Return the id of a name."""
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), key=key, digest_size=DIGITS // 2).hexdigest()


@dataclass
class PrivateReader:
    """A reader whose records, lists of files and errors hold ids instead of names."""

    reader: Reader
    key: bytes
    _records: dict[str, Record] = field(default_factory=dict)  # id -> the reader's own record

    @cached_property
    def Options(self) -> type[ReaderOptions]:
        return self.reader.Options

    def files(self, raw: Path | None, options: Any) -> Mapping[str, Path]:
        with self._without_names(raw):
            return {keyed_hash(name, self.key): path for name, path in self.reader.files(raw, options).items()}

    def index(self, raw: Path | None, options: Any) -> Iterator[Record]:
        with self._without_names(raw):
            records = list(self.reader.index(raw, options))
        for record in records:
            hidden = replace(
                record,
                image_id=keyed_hash(record.image_id, self.key),
                file=keyed_hash(record.file, self.key),
                group=record.group and keyed_hash(record.group, self.key),
                masks={region: keyed_hash(file, self.key) for region, file in record.masks.items()},
            )
            self._records[hidden.image_id] = record
            yield hidden

    def read(self, raw: Path | None, options: Any, record: Record, part: str | None) -> DecodedImage:
        if record.image_id not in self._records:
            list(self.index(raw, options))
        with self._without_names(raw):
            return self.reader.read(raw, options, self._records[record.image_id], part)

    @contextmanager
    def _without_names(self, raw: Path | None) -> Iterator[None]:
        """Put ids into the texts of errors; for an unexpected error, only its class is reported."""
        try:
            yield
        except GradFaithError as error:
            hide = _Hider(raw, self.key, [record.group for record in self._records.values()])
            raise type(error)(
                problem=hide.text(error.problem), reason=hide.text(error.reason), fix=hide.text(error.fix)
            ) from None
        except Exception as error:
            raise DatasetInvalid(
                problem=f"reading a private dataset ended with {type(error).__name__}.",
                reason="The text of the error may contain file names or names of patients, so GradFaith does not show it.",
                fix="To see the text, set `private: false` in the dataset's file (config/datasets/) on a machine where names "
                "may be shown, and run again.",
            ) from None


class _Hider:
    """Replaces the names of files, and what tables beside them hold, in a text."""

    def __init__(self, raw: Path | None, key: bytes, groups: list[str]) -> None:
        names = {group: keyed_hash(group, key) for group in groups if group}
        shown: set[str] = set()
        for folder, _, files in os.walk(raw) if raw is not None else []:
            place = Path(folder).relative_to(Path(str(raw))).as_posix()
            shown |= set(place.split("/"))
            for name in files:
                path = name if place == "." else f"{place}/{name}"
                own = keyed_hash(path, key)
                names |= {path: own, name: own, Path(name).stem: own}
                if Path(name).suffix in TABLE_SUFFIXES:
                    names |= {cell: keyed_hash(cell, key) for cell in _cells(Path(folder, name))}
                    shown |= {path, name, Path(name).stem}  # a table's own name is no patient's
        self._ids = {name: code for name, code in names.items() if name not in shown}
        longest_first = sorted(map(re.escape, self._ids), key=len, reverse=True)
        self._names = re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)") if longest_first else None
        self._folder = str(raw)

    def text(self, text: str) -> str:
        text = text.replace(f"{self._folder}/", "").replace(self._folder, "the raw folder")
        return text if self._names is None else self._names.sub(lambda name: self._ids[name[0]], text)


def _cells(table: Path) -> set[str]:
    """Return the cells of a table below its first line; short numbers are sizes and places, and stay."""
    lines = table.read_text(encoding="utf-8-sig", errors="replace").splitlines()[1:]
    cells = {cell.strip(' "') for line in lines for cell in re.split(r"[,\t]", line)}
    return {cell for cell in cells if cell and not SHORT_NUMBER.fullmatch(cell)}
