"""Unpack ZIP files completely and inside their folder, or refuse unsafe ones before anything is written.

Refused as unsafe: absolute paths, "..", drive letters and backslashes, control characters, names too long,
links and other special files, two members of one name (also if only case or Unicode form differs, because some filesystems
would make one file of them), a file that is also a folder, members that overlap, more files or bytes than allowed, and more
than `max_ratio` bytes per byte of the archive. Announced sizes are checked before anything is written, and bytes are counted
again while writing, because an archive may announce wrong sizes.

Refused as broken: members that cannot be unpacked to the announced size and checksum, encrypted members, and
methods other than stored and deflated (the only ones whose output can be bounded while it is unpacked).

Cost: one pass over the archive; memory does not depend on its size.
"""

import lzma
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath

from gradfaith.errors import BrokenArchive, UnsafeArchive

CHUNK_BYTES = 1 << 18
LOCAL_HEADER_BYTES = 30  # bytes before the name of a member
ENCRYPTION_FLAGS = 0x1 | 0x40 | 0x2000
ALLOWED_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# All errors that zipfile is known to raise on damaged input
READ_ERRORS = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError, RuntimeError,
    ValueError, OverflowError, IndexError, KeyError, TypeError, OSError,
)  # fmt: skip

Members = Sequence[tuple[zipfile.ZipInfo, PurePosixPath]]


def extract(
    archive: Path, to: Path, *, max_bytes: int, max_files: int, max_ratio: float, display_name: str = ""
) -> list[Path]:
    """Unpack an archive into the new folder `to` and return its files, sorted; on an error the caller deletes `to`.

    `max_bytes` and `max_files` bound the files, `max_ratio` their bytes per byte of the archive. `display_name` is
    the archive's name in error messages, its path if empty.
    """
    display_name = display_name or str(archive)
    try:
        opened = zipfile.ZipFile(archive)
    except READ_ERRORS as error:
        raise _broken_archive(display_name, f"it cannot be read as a ZIP file: {_error_text(error)}") from error
    limit = min(max_bytes, int(max_ratio * archive.stat().st_size))
    with opened:
        members = _checked_members(display_name, opened, max_files)
        announced = sum(info.file_size for info, _ in members)
        if announced > limit:
            raise _archive_bomb(display_name, f"it announces {announced} bytes from {archive.stat().st_size}")
        to.mkdir(parents=True)
        written: list[Path] = []
        for info, path in members:
            limit -= _write_member(opened, info, to / path, display_name, limit)
            written += [] if info.is_dir() else [to / path]
    return sorted(written)


def _checked_members(display_name: str, opened: zipfile.ZipFile, max_files: int) -> Members:
    """Return every member to unpack, with its checked path."""
    infos = [info for info in opened.infolist() if not _is_litter(info.orig_filename)]
    if len(infos) > max_files:
        raise _archive_bomb(display_name, f"it has {len(infos)} members")
    members = [(info, _checked_path(display_name, info)) for info in infos]
    _check_clashes(display_name, members)
    _check_overlaps(display_name, opened)
    return members


def _is_litter(name: str) -> bool:
    parts = name.split("/")
    return "__MACOSX" in parts or parts[-1] == ".DS_Store"


def _checked_path(display_name: str, info: zipfile.ZipInfo) -> PurePosixPath:
    name = info.orig_filename
    parts = [part for part in name.split("/") if part not in {"", "."}]
    kind = stat.S_IFMT(info.external_attr >> 16)
    faults = {
        "an absolute path": name.startswith("/"),
        'a path with ".."': ".." in parts,
        "a path with a drive letter": bool(parts) and parts[0][1:2] == ":" and parts[0][0].isalpha(),
        "a path with a backslash": "\\" in name,
        "a path with control characters": any(unicodedata.category(sign) in {"Cc", "Cs"} for sign in name),
        "an empty path": not parts,
        "a path that is too long": len(name.encode(errors="replace")) > 1000
        or any(len(part.encode(errors="replace")) > 255 for part in parts),
        "a link or a special file": kind not in {0, stat.S_IFREG, stat.S_IFDIR}
        or (kind == stat.S_IFDIR and not info.is_dir()),
    }
    for fault, there in faults.items():
        if there:
            raise _unsafe_archive(display_name, f"its member {name[:200]!r} is {fault}")
    if info.flag_bits & ENCRYPTION_FLAGS:
        raise _broken_archive(display_name, f"its member {name!r} is encrypted")
    if info.compress_type not in ALLOWED_METHODS:
        raise _broken_archive(
            display_name, f"its member {name!r} uses compression method {info.compress_type}, not stored or deflated"
        )
    return PurePosixPath(*parts)


def _check_clashes(display_name: str, members: Members) -> None:
    files: dict[str, str] = {}
    for info, path in members:
        if not info.is_dir():
            key = _name_on_disk(path)
            if key in files:
                raise _unsafe_archive(display_name, f'its members "{files[key]}" and "{path}" would become one file')
            files[key] = str(path)
    folders = {_name_on_disk(parent): parent for _, path in members for parent in path.parents}
    folders |= {_name_on_disk(path): path for info, path in members if info.is_dir()}
    for key in sorted(files.keys() & folders.keys()):
        raise _unsafe_archive(display_name, f'its member "{files[key]}" is both a file and a folder')


def _name_on_disk(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())


def _check_overlaps(display_name: str, opened: zipfile.ZipFile) -> None:
    """Refuse members that share bytes, because they can announce far more than the archive contains."""
    infos = sorted(opened.infolist(), key=lambda info: info.header_offset)
    for info, following in pairwise(infos):
        if (
            info.header_offset + LOCAL_HEADER_BYTES + len(info.orig_filename) + info.compress_size
            > following.header_offset
        ):
            raise _unsafe_archive(display_name, f'its members "{info.filename}" and "{following.filename}" overlap')


def _write_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, display_name: str, limit: int) -> int:
    """Write one member, at most `limit` bytes, and return how many bytes it had."""
    if info.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("xb") as file:
        for chunk in _member_chunks(opened, info, display_name):
            count += len(chunk)
            if count > limit:
                raise _archive_bomb(display_name, f'its member "{info.filename}" is longer than announced')
            file.write(chunk)
    if count != info.file_size:
        raise _broken_archive(
            display_name, f'its member "{info.filename}" has {count} bytes, but {info.file_size} were announced'
        )
    return count


def _member_chunks(opened: zipfile.ZipFile, info: zipfile.ZipInfo, display_name: str) -> Iterator[bytes]:
    try:
        with opened.open(info) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except READ_ERRORS as error:
        raise _broken_archive(display_name, f'its member "{info.filename}" is damaged: {_error_text(error)}') from error


def _error_text(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path, which differs between machines
    return str(error).rstrip(".") or type(error).__name__


def _unsafe_archive(display_name: str, problem: str) -> UnsafeArchive:
    return UnsafeArchive(
        problem=f"{display_name}: {problem}.",
        reason="Unpacking it could write outside its folder, or write other files than it lists.",
        fix="If you trust the archive, unpack it yourself and write `sources: [{local: FOLDER}]` in the dataset's file.",
    )


def _archive_bomb(display_name: str, problem: str) -> UnsafeArchive:
    return UnsafeArchive(
        problem=f"{display_name}: {problem}, which exceeds the limits.",
        reason="A malicious archive can fill the disk when it is unpacked.",
        fix="If you trust the archive, unpack it yourself and write `sources: [{local: FOLDER}]` in the dataset's file.",
    )


def _broken_archive(display_name: str, problem: str) -> BrokenArchive:
    return BrokenArchive(
        problem=f"{display_name}: {problem}.",
        reason="The dataset's files would be damaged or incomplete.",
        fix="Fetch or export the archive again, or unpack it yourself and write `sources: [{local: FOLDER}]` in the dataset's file.",
    )
