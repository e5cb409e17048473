"""Files, and folders of them, that are whole or not there: written under a temporary name, forced to disk, then renamed."""

import errno
import io
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradfaith.errors import CannotWrite

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A name to write to; it becomes `path` when the block ends well, and nothing when it does not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        if _is_full(error):
            raise CannotWrite(
                found=f"{path} could not be written: {error.strerror or error}.",
                why="The disk, or your share of it, is full; half a file would look like a result.",
                then="Free space (`keep:` in the study says what may go) and run again: what was finished stays finished.",
            ) from error
        raise
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path | str) -> Iterator[Path]:
    """A folder to fill; it takes the place of `path`, and of what lay there, when the block ends well."""
    path = Path(path)
    mark = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    draft, before = (path.with_name(f".{path.name}.{mark}.{end}") for end in ("tmp", "old"))
    try:
        draft.mkdir(parents=True)
        yield draft
        if path.exists():
            path.replace(before)
        draft.replace(path)
    except OSError as error:
        raise CannotWrite(
            found=f"{path} could not be written: {error.strerror or error}.",
            why="Half of its files would look like a result, so none was left.",
            then="Free space, or name a folder that can be written to.",
        ) from error
    finally:
        if before.exists() and not path.exists():
            before.replace(path)
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def write_text(path: Path | str, text: str) -> None:
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


class Patient(io.FileIO):
    """A file that keeps a failed write to itself until it is asked, for HDF5, which crashes when it closes a file on a full disk."""

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
        if self.error is not None:
            raise self.error


def _is_full(error: OSError) -> bool:
    # HDF5 raises a plain OSError whose errno is lost; the number stands in its words
    return error.errno in FULL or any(f"errno = {number}," in str(error) for number in FULL)
