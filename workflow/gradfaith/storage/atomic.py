"""Write files and folders completely or not at all: under a temporary name, forced to disk, then renamed.

`check_writable` tells beforehand, in words, that a folder is read-only: Snakemake's and Python's own errors name a number.
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
from typing import Any

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
                reason="The disk, or your share of it, is full; half a file would look like a result.",
                fix="Free space (`keep:` in the study says what may go) and run again: what was finished stays finished.",
            ) from error
        raise
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path | str) -> Iterator[Path]:
    """Yield a folder to fill; it replaces `path`, and what lay there, if the block ends without error."""
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
            reason="Half of its files would look like a result, so none was left.",
            fix="Free space, or name a folder that can be written to.",
        ) from error
    finally:
        if before.exists() and not path.exists():
            before.replace(path)
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def check_writable(folders: Iterable[Path]) -> None:
    """Raise CannotWrite if files cannot be made in one of these folders, which need not exist yet."""
    for folder in sorted(set(folders)):
        place = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            raise CannotWrite(
                problem=f"{folder} cannot be written to: {place.absolute()} {_why_not_writable(place)}.",
                reason="Results, logs and what is fetched are files, and a job that cannot make its files fails.",
                fix=f"Make {place} writable (chmod, or mount it read-write), or work in a copy of the project that you may change.",
            )


def _why_not_writable(place: Path) -> str:
    if not place.is_dir():
        return "is no folder"
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
        except OSError as error:  # to a length the disk or a limit does not allow
            self.error = self.error or error
            return size or 0

    def check(self) -> None:
        """Raise the error of the first failed write, if there was one."""
        if self.error is not None:
            raise self.error


def _is_disk_full(error: OSError) -> bool:
    # HDF5 raises a plain OSError without errno; the number is in its text
    return error.errno in DISK_FULL_ERRORS or any(f"errno = {number}," in str(error) for number in DISK_FULL_ERRORS)
