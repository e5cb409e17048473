"""Write and read HDF5 files that are complete or absent, and checked when opened; the stores of hdf5.py are such files.

Flipped bits are detected: chunks and headers have checksums. Texts have a fixed length, because HDF5 stores texts of
variable length without a checksum. The names of all groups and datasets are stored too, because a group with a damaged
index shows fewer members and no error. Every error that h5py raises on reading becomes a BrokenStore.
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from gradfaith.errors import BrokenStore
from gradfaith.storage.atomic import DeferredErrorFile, replacing
from gradfaith.storage.identity import STORE_FORMAT, Identity, advise_replacement

CHECKED: Mapping[str, Any] = {"fletcher32": True}  # a checksum per chunk, compared when it is read
GZIP: Mapping[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True, **CHECKED}
BLOCK_ROWS = 64  # rows per read when all are read
CACHED = 1 << 20  # bytes of unpacked chunks kept per open dataset
WITH_CHECKSUMS = ("v110", "v110")  # the format in which HDF5 checks its own headers
# errors that h5py raises on a damaged file
DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError)


class StoreWriter:
    """An HDF5 file being written. It receives its name when the block ends without error and the file is complete."""

    def __init__(self, path: Path | str, kind: str, stamp: Mapping[str, Any], made_from: Mapping[str, str]) -> None:
        self.path = Path(path)
        text = json.dumps(dict(stamp), sort_keys=True, default=str)
        identity = replace(Identity.of_place(path), made_from=dict(made_from))
        self._head = {"kind": kind, "format": STORE_FORMAT, "stamp": text, "identity": identity.to_json()}

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # the disk can be full before the first row
            self._disk = stack.enter_context(DeferredErrorFile(stack.enter_context(replacing(self.path)), "w+"))
            self._file = stack.enter_context(h5py.File(self._disk, "w", libver=WITH_CHECKSUMS))
            self._file.attrs.update(fixed_texts(self._head))
            self._begin()
            self._disk.check()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            self._disk.check()  # a full disk explains every later error
            if error is not None:
                raise error
            self._close()
            self._file.close()
            self._disk.check()

    def _begin(self) -> None:
        """Write everything that comes before the first row."""

    def _write_column(self, name: str, values: list[str] | NDArray[Any]) -> None:
        """Write a column; text in a fixed length, because HDF5 has no checksum for text of variable length."""
        array = np.array([text.encode() for text in values], np.bytes_) if isinstance(values, list) else values
        dtype = h5py.string_dtype("utf-8", max(1, array.itemsize)) if array.dtype.kind == "S" else array.dtype
        self._file.create_dataset(name, data=array.astype(dtype), **CHECKED)

    def _close(self) -> None:
        self._file.attrs.update(fixed_texts({"contents": _contents(self._file), "complete": True}))


class StoreReader:
    """An open store: complete, of this format version, and at its own path."""

    kind = ""  # any

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise missing_store(path)
        try:
            self._file = h5py.File(path, "r", locking=False, rdcc_nbytes=CACHED)
            self._datasets: dict[str, h5py.Dataset] = {}  # kept open, so that a chunk with many rows is unpacked once
            self._load(plain_texts(self._file.attrs))
        except DAMAGE as error:
            raise broken_store(path, str(error)) from error

    def _load(self, attributes: Mapping[str, Any]) -> None:
        """Check and read everything that is needed before the first row."""
        found = attributes.get("kind"), attributes.get("format"), bool(attributes.get("complete", False))
        if found != (self.kind or found[0], STORE_FORMAT, True):
            self._file.close()
            words = "kind {}, format {}, complete {}".format(*found)
            raise broken_store(self.path, f"{words}; expected {self.kind}, {STORE_FORMAT}, True")
        if attributes["contents"] != _contents(self._file):
            raise broken_store(self.path, "some of its groups or datasets are missing")
        self.stamp: dict[str, Any] = json.loads(attributes["stamp"])
        self.identity, self.digest = Identity.from_json(attributes["identity"]), str(attributes["digest"])
        self.identity.check_place(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def datasets(self) -> dict[str, int]:
        """Return name -> rows of all datasets."""
        found = {name: self._file[name] for name in json.loads(_contents(self._file))}
        return {name: len(item) for name, item in found.items() if isinstance(item, h5py.Dataset)}

    def read(self, name: str, selection: Any = slice(None)) -> Any:
        try:
            if name not in self._datasets:
                self._datasets[name] = self._file[name]
            return self._datasets[name][selection]
        except DAMAGE as error:
            raise broken_store(self.path, str(error)) from error

    def read_rows(self, name: str, rows: slice | NDArray[np.int64], *rest: int) -> Any:
        """Read rows in any order; HDF5 itself requires increasing row numbers, and reads a slice faster than a list."""
        if isinstance(rows, slice):
            return self.read(name, (rows, *rest))
        unique, back = np.unique(rows, return_inverse=True)
        if len(unique) and unique[-1] - unique[0] + 1 == len(unique):
            return self.read(name, (slice(int(unique[0]), int(unique[-1]) + 1), *rest))[back]
        return self.read(name, (unique, *rest))[back]


def read_identity(path: Path | str) -> tuple[Identity, str]:
    """Return the identity of a store, and the digest of its contents."""
    with StoreReader(path) as store:
        return store.identity, store.digest


def read_all(path: Path | str) -> None:
    """Read every chunk of a store, so that every checksum is compared."""
    with StoreReader(path) as store:
        for name, rows in store.datasets().items():
            for start in range(0, rows, BLOCK_ROWS):
                store.read(name, slice(start, start + BLOCK_ROWS))


def _contents(file: h5py.File) -> str:
    """Return the names of all groups and datasets; a group with a damaged index shows fewer."""
    names: list[str] = []
    file.visit(names.append)
    return json.dumps(sorted(names))


def fixed_texts(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes with texts in a fixed length, which HDF5 stores with a checksum."""
    return {
        name: np.array(value.encode(), h5py.string_dtype("utf-8", max(1, len(value.encode()))))
        if isinstance(value, str)
        else value
        for name, value in attributes.items()
    }


def plain_texts(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes with texts of a fixed length as strings."""
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in attributes.items()}


def incomplete_store(path: Path, problem: str) -> BrokenStore:
    return BrokenStore(
        problem=f"{path}: {problem}.",
        reason="Rows that were not written would be read as zeros.",
        fix="This is an error in GradFaith: please report it with the log of this job (in results/<study>/logs/).",
    )


def missing_store(path: Path | str) -> BrokenStore:
    return BrokenStore(
        problem=f"there is no file {path}.",
        reason="A store is one HDF5 file, such as results/<study>/maps/<arch>/seed-<s>/<bundle>.h5.",
        fix="Name an existing file, or run the study that writes it.",
    )


def broken_store(path: Path | str, problem: str) -> BrokenStore:
    return BrokenStore(
        problem=f"{path}: {problem}.",
        reason="GradFaith writes complete stores only, so this one was truncated, edited, or written by another version.",
        fix=advise_replacement(path),
    )
