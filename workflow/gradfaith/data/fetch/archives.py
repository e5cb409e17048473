"""Unpack archives (ZIP, and tar files: .tar, .tar.gz, .tar.xz) completely and inside their folder, or refuse them.

The kind of an archive is read from its first bytes, never from its name. Unsafe archives (data/fetch/archive_checks.py) are
refused before anything is written. Announced sizes are checked before anything is written too, and bytes are counted again
while writing, because an archive may announce wrong sizes. `max_ratio` bounds the bytes per byte of the archive.

Of ZIP files, members that overlap are refused as unsafe. Refused as broken: members that cannot be unpacked to the announced
size and checksum, encrypted members, and methods other than stored and deflated (the only ones whose output can be bounded
while it is unpacked). data/fetch/tar_archives.py unpacks tar files.

Cost: one pass over a ZIP file, two over a tar file; memory does not depend on the size.
"""

import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath

from gradfaith.data.fetch import tar_archives
from gradfaith.data.fetch.archive_checks import (
    CHUNK_BYTES,
    ArchiveLimits,
    ListedMember,
    broken_archive,
    check_clashes,
    check_limits,
    checked_path,
    error_text,
    is_litter,
    unsafe_archive,
    write_members,
)
from gradfaith.vocabulary import ARCHIVE_SUFFIXES

LOCAL_HEADER_BYTES = 30  # bytes before the name of a member
ENCRYPTION_FLAGS = 0x1 | 0x40 | 0x2000
ALLOWED_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# All errors that zipfile is known to raise on damaged input
READ_ERRORS = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError, RuntimeError,
    ValueError, OverflowError, IndexError, KeyError, TypeError, OSError,
)  # fmt: skip

Members = Sequence[tuple[zipfile.ZipInfo, ListedMember]]


def extract(
    archive: Path, to: Path, *, max_bytes: int, max_files: int, max_ratio: float, display_name: str = ""
) -> list[Path]:
    """Unpack an archive into the new folder `to` and return its files, sorted; on an error the caller deletes `to`.

    `max_bytes` and `max_files` bound the files, `max_ratio` their bytes per byte of the archive. `display_name` is
    the archive's name in error messages, its path if empty.
    """
    display_name = display_name or str(archive)
    size = archive.stat().st_size if archive.is_file() else 0
    limits = ArchiveLimits(min(max_bytes, int(max_ratio * size)), max_files, display_name)
    return (
        tar_archives.extract_tar(archive, to, limits)
        if tar_archives.is_tar(archive)
        else _extract_zip(archive, to, limits)
    )


def is_complete(archive: Path) -> bool:
    """Tell whether a file begins as an archive does and, if it is a ZIP file, has its directory at the end."""
    if tar_archives.is_tar(archive):
        return True
    with archive.open("rb") as file:
        return file.read(2) == b"PK" and zipfile.is_zipfile(archive)


def archive_suffix(name: str) -> str:
    """Return the suffix by which a name shows an archive, such as `.tar.gz`; "" if there is none."""
    return max((suffix for suffix in ARCHIVE_SUFFIXES if name.lower().endswith(suffix)), key=len, default="")


def without_suffix(name: str) -> str:
    """Return the name of an archive without its suffix."""
    return name[: -len(suffix)] if (suffix := archive_suffix(name)) else name


def _extract_zip(archive: Path, to: Path, limits: ArchiveLimits) -> list[Path]:
    try:
        opened = zipfile.ZipFile(archive)
    except READ_ERRORS as error:
        problem = f"it cannot be read as a ZIP file: {error_text(error)}"
        raise broken_archive(limits.display_name, problem) from error
    with opened:
        members = _checked_members(opened, limits)
        contents = ((listed, _member_chunks(opened, info, limits.display_name)) for info, listed in members)
        return write_members(contents, to, limits)


def _checked_members(opened: zipfile.ZipFile, limits: ArchiveLimits) -> Members:
    """Return every member to unpack, checked."""
    infos = [info for info in opened.infolist() if not is_litter(info.orig_filename)]
    check_limits(limits, len(infos), 0)
    members = [(info, _listed(info, _checked_zip_path(limits.display_name, info))) for info in infos]
    check_clashes(limits.display_name, [listed for _, listed in members])
    _check_overlaps(limits.display_name, opened)
    check_limits(limits, len(infos), sum(listed.bytes for _, listed in members))
    return members


def _listed(info: zipfile.ZipInfo, path: PurePosixPath) -> ListedMember:
    return ListedMember(path, info.file_size, info.is_dir())


def _checked_zip_path(display_name: str, info: zipfile.ZipInfo) -> PurePosixPath:
    kind = stat.S_IFMT(info.external_attr >> 16)
    is_wrong_folder = kind == stat.S_IFDIR and not info.is_dir()
    special = kind not in {0, stat.S_IFREG, stat.S_IFDIR} or is_wrong_folder
    path = checked_path(display_name, info.orig_filename, special=special)
    if info.flag_bits & ENCRYPTION_FLAGS:
        raise broken_archive(display_name, f"its member {info.orig_filename!r} is encrypted")
    if info.compress_type not in ALLOWED_METHODS:
        problem = (
            f"its member {info.orig_filename!r} uses compression method {info.compress_type}, not stored or deflated"
        )
        raise broken_archive(display_name, problem)
    return path


def _check_overlaps(display_name: str, opened: zipfile.ZipFile) -> None:
    """Refuse members that share bytes, because they can announce far more than the archive contains."""
    infos = sorted(opened.infolist(), key=lambda info: info.header_offset)
    for info, following in pairwise(infos):
        if (
            info.header_offset + LOCAL_HEADER_BYTES + len(info.orig_filename) + info.compress_size
            > following.header_offset
        ):
            raise unsafe_archive(display_name, f'its members "{info.filename}" and "{following.filename}" overlap')


def _member_chunks(opened: zipfile.ZipFile, info: zipfile.ZipInfo, display_name: str) -> Iterator[bytes]:
    try:
        with opened.open(info) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except READ_ERRORS as error:
        raise broken_archive(display_name, f'its member "{info.filename}" is damaged: {error_text(error)}') from error
