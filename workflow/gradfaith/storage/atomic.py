"""Write files and folders completely or not at all: under a temporary name, forced to disk, then renamed.

`check_writable` reports a read-only folder before any work; Snakemake and Python would only give an error number.

A job keeps data that it computes once, reads often in any order, and that may not fit into memory, in a temporary file:

    rows = new_rows((2000, 224, 224), np.float32)     zeros at first
    rows[0:128] = maps
    rows[np.array([5, 3, 5])]                         (3, 224, 224), read now

The file is in the folder for temporary files (`TMPDIR`), has no name, and disappears with the object. It is read and
written by rows, never mapped, so its pages do not count as memory of the process. A small array stays in memory,
because a file would only cost time. Cost: one copy of every row that is read, as for indexing an array with a list,
and the array's size on disk.
"""

import errno
import io
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith.errors import CannotWrite

DISK_FULL_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path, which is renamed to `path` if the block ends without error, else removed."""
    path = Path(path)
    check_writable([path.parent])
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        if _is_disk_full(error):
            raise CannotWrite(
                problem=f"{path} could not be written: {error.strerror or error}.",
                reason="The disk or your quota is full. No partial file is left, because it would look like a result.",
                fix="Free disk space and run again: finished jobs are not repeated. With `keep: {maps: false}` in the study, "
                "Snakemake deletes maps that no job needs any more.",
            ) from error
        raise
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path | str) -> Iterator[Path]:
    """Yield a folder to fill. It replaces `path` and its contents if the block ends without error."""
    path = Path(path)
    suffix = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    draft, before = (path.with_name(f".{path.name}.{suffix}.{end}") for end in ("tmp", "old"))
    try:
        draft.mkdir(parents=True)
        yield draft
        if path.exists():
            path.replace(before)
        draft.replace(path)
    except OSError as error:
        raise CannotWrite(
            problem=f"{path} could not be written: {error.strerror or error}.",
            reason="An incomplete folder would look like a result, so GradFaith has removed it.",
            fix="Free disk space, or name a folder that you can write to.",
        ) from error
    finally:
        if before.exists() and not path.exists():
            before.replace(path)
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def check_writable(folders: Iterable[Path]) -> None:
    """Raise CannotWrite if files cannot be created in one of these folders, which need not exist yet."""
    for folder in sorted(set(folders)):
        place = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            raise CannotWrite(
                problem=f"{folder} cannot be written to: {place.absolute()} {_why_not_writable(place)}.",
                reason="Jobs write results, logs and downloads there, and would fail.",
                fix=f"Make {place} writable (chmod, or mount it read-write), or work in a copy of the project that you can write to.",
            )


def _why_not_writable(place: Path) -> str:
    if not place.is_dir():
        return "is not a folder"
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return "is on a read-only file system"
    found = place.stat()
    return f"({stat.filemode(found.st_mode)}, owner {found.st_uid}) does not let user {os.geteuid()} write"


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 text file, complete or not at all."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


class DeferredErrorFile(io.FileIO):
    """A file that defers write errors until `check()`, for HDF5, which crashes when it closes on a full disk."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        while len(rest) and self.error is None:
            try:
                rest = rest[super().write(rest) :]
            except OSError as error:
                self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:  # the disk or a quota does not allow this length
            self.error = self.error or error
            return size or 0

    def check(self) -> None:
        """Raise the error of the first failed write, if there was one."""
        if self.error is not None:
            raise self.error


def _is_disk_full(error: OSError) -> bool:
    # HDF5 raises a plain OSError without errno; its text contains the number
    return error.errno in DISK_FULL_ERRORS or any(f"errno = {number}," in str(error) for number in DISK_FULL_ERRORS)


FEW_BYTES = 4_000_000


def new_rows(shape: tuple[int, ...], dtype: Any) -> "ScratchRows | NDArray[Any]":
    """Return zeros: in memory if they are few, else in a temporary file."""
    few = np.dtype(dtype).itemsize * int(np.prod(shape)) <= FEW_BYTES
    return np.zeros(shape, dtype) if few else ScratchRows(shape, dtype)


class ScratchRows:
    """An array on disk, addressed by its first axis."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._row_bytes = self.dtype.itemsize * int(np.prod(shape[1:]))
        self._file: Any = TemporaryFile(buffering=0)  # noqa: SIM115 - it lives as long as this object
        try:
            self._file.truncate(len(self) * self._row_bytes)  # unwritten rows are zero, and take no disk space
        except OSError as error:
            raise self._failed("created", error.strerror or str(error)) from error

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        numbers = np.arange(len(self))[rows] if isinstance(rows, slice) else rows
        found = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for first, last in _runs(numbers):
            self._file.seek(int(numbers[first]) * self._row_bytes)
            if self._file.readinto(found[first:last]) < (last - first) * self._row_bytes:
                raise self._failed("read", "it is truncated")
        return found

    def __setitem__(self, rows: slice | NDArray[np.int64], values: NDArray[Any]) -> None:
        numbers = np.arange(len(self))[rows] if isinstance(rows, slice) else rows
        block = np.ascontiguousarray(values, self.dtype)
        for first, last in _runs(numbers):
            try:
                self._file.seek(int(numbers[first]) * self._row_bytes)
                written = self._file.write(block[first:last])
            except OSError as error:
                raise self._failed("written", error.strerror or str(error)) from error
            if written < (last - first) * self._row_bytes:
                raise self._failed("written", "no space is left")

    def _failed(self, what: str, problem: str) -> CannotWrite:
        return CannotWrite(
            problem=f"a temporary file in {gettempdir()} could not be {what}: {problem}.",
            reason=f"The file holds {len(self) * self._row_bytes / 1e6:.0f} MB that may not fit into memory.",
            fix="Free disk space there, or set TMPDIR to a folder on a larger disk. Then run again.",
        )


def _runs(numbers: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return start and end of each run of consecutive numbers; a run is read at once."""
    ends = [*(np.flatnonzero(np.diff(numbers) != 1) + 1).tolist(), len(numbers)]
    return list(zip([0, *ends[:-1]], ends, strict=True)) if len(numbers) else []
