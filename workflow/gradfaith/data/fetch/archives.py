"""ZIP files are unpacked whole and inside their folder, or refused by name before or while they do harm.

Refused as unsafe: absolute paths, "..", drive letters and backslashes, control characters, names too long, links and other special
files, two members of one name (also where only case or Unicode form differs: some disks would glue them together), a file that is also
a folder, members that overlap, more files or bytes than allowed, and more than `max_ratio` bytes per byte of the archive. Sizes are
checked as announced before anything is written, and counted again while writing, since an archive may lie about them.

Refused as broken: whatever cannot be unpacked to the announced size and checksum, encrypted members, and methods other than
stored and deflated (the only ones whose output can be bounded while it is unpacked).

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

CHUNK = 1 << 18
LOCAL_HEADER = 30  # bytes before the name of a member
ENCRYPTED = 0x1 | 0x40 | 0x2000
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# All that zipfile is known to raise on damaged input
DAMAGE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError, RuntimeError,
    ValueError, OverflowError, IndexError, KeyError, TypeError, OSError,
)  # fmt: skip

Members = Sequence[tuple[zipfile.ZipInfo, PurePosixPath]]


def extract(
    archive: Path, to: Path, *, max_bytes: int, max_files: int, max_ratio: float, called: str = ""
) -> list[Path]:
    """The archive's files under the new folder `to`. After a refusal the caller throws `to` away. `called`: its name in messages."""
    called = called or str(archive)
    try:
        opened = zipfile.ZipFile(archive)
    except DAMAGE as error:
        raise _broken(called, f"it is no ZIP file that can be read: {_said(error)}") from error
    limit = min(max_bytes, int(max_ratio * archive.stat().st_size))
    with opened:
        members = _members(called, opened, max_files)
        announced = sum(info.file_size for info, _ in members)
        if announced > limit:
            raise _bomb(called, f"it announces {announced} bytes from {archive.stat().st_size}")
        to.mkdir(parents=True)
        written: list[Path] = []
        for info, path in members:
            limit -= _write(opened, info, to / path, called, limit)
            written += [] if info.is_dir() else [to / path]
    return sorted(written)


def _members(called: str, opened: zipfile.ZipFile, max_files: int) -> Members:
    """Every member that is unpacked, with its checked path."""
    infos = [info for info in opened.infolist() if not _litter(info.orig_filename)]
    if len(infos) > max_files:
        raise _bomb(called, f"it holds {len(infos)} members")
    members = [(info, _path(called, info)) for info in infos]
    _check_clashes(called, members)
    _check_overlaps(called, opened)
    return members


def _litter(name: str) -> bool:
    parts = name.split("/")
    return "__MACOSX" in parts or parts[-1] == ".DS_Store"


def _path(called: str, info: zipfile.ZipInfo) -> PurePosixPath:
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
            raise _unsafe(called, f"its member {name[:200]!r} is {fault}")
    if info.flag_bits & ENCRYPTED:
        raise _broken(called, f"its member {name!r} is encrypted")
    if info.compress_type not in METHODS:
        raise _broken(
            called, f"its member {name!r} is packed by method {info.compress_type}, neither stored nor deflated"
        )
    return PurePosixPath(*parts)


def _check_clashes(called: str, members: Members) -> None:
    files: dict[str, str] = {}
    for info, path in members:
        if not info.is_dir():
            key = _folded(path)
            if key in files:
                raise _unsafe(called, f'its members "{files[key]}" and "{path}" would be one file')
            files[key] = str(path)
    folders = {_folded(parent): parent for _, path in members for parent in path.parents}
    folders |= {_folded(path): path for info, path in members if info.is_dir()}
    for key in sorted(files.keys() & folders.keys()):
        raise _unsafe(called, f'its member "{files[key]}" is a file and a folder')


def _folded(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())


def _check_overlaps(called: str, opened: zipfile.ZipFile) -> None:
    """Members that share bytes can announce far more than the archive holds."""
    infos = sorted(opened.infolist(), key=lambda info: info.header_offset)
    for info, following in pairwise(infos):
        if info.header_offset + LOCAL_HEADER + len(info.orig_filename) + info.compress_size > following.header_offset:
            raise _unsafe(called, f'its members "{info.filename}" and "{following.filename}" overlap')


def _write(opened: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, called: str, limit: int) -> int:
    """One member's bytes; how many there were."""
    if info.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("xb") as file:
        for chunk in _chunks(opened, info, called):
            count += len(chunk)
            if count > limit:
                raise _bomb(called, f'its member "{info.filename}" goes on beyond what it announced')
            file.write(chunk)
    if count != info.file_size:
        raise _broken(called, f'its member "{info.filename}" has {count} bytes and announces {info.file_size}')
    return count


def _chunks(opened: zipfile.ZipFile, info: zipfile.ZipInfo, called: str) -> Iterator[bytes]:
    try:
        with opened.open(info) as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except DAMAGE as error:
        raise _broken(called, f'its member "{info.filename}" is damaged: {_said(error)}') from error


def _said(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path, which is this machine's own
    return str(error).rstrip(".") or type(error).__name__


def _unsafe(called: str, what: str) -> UnsafeArchive:
    return UnsafeArchive(
        found=f"{called}: {what}.",
        why="Unpacking it could write outside its folder, or something other than the files it shows.",
        then="Unpack it yourself where that does no harm, and name the folder as a local source.",
    )


def _bomb(called: str, what: str) -> UnsafeArchive:
    return UnsafeArchive(
        found=f"{called}: {what}, beyond the limits.",
        why="An archive can be made to swell until it fills the disk.",
        then="If it is right, unpack it yourself and name the folder as a local source.",
    )


def _broken(called: str, what: str) -> BrokenArchive:
    return BrokenArchive(
        found=f"{called}: {what}.",
        why="A dataset with damaged or missing files would be another dataset.",
        then="Fetch or export the archive again, or unpack it yourself and name the folder as a local source.",
    )
