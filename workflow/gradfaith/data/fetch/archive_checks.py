"""Check the members of an archive before anything is written, write them, and name what is wrong with an archive.

Unsafe: absolute paths, "..", drive letters and backslashes, control characters, names too long, links and other special
files, two members of one name (also if only case or Unicode form differs, because some filesystems would make one file of
them), a file that is also a folder, and more files or bytes than allowed. Litter of macOS is skipped.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gradfaith.errors import BrokenArchive, UnsafeArchive

CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may unpack to, and its name in error messages."""

    max_bytes: int  # of all files together
    max_files: int
    display_name: str


@dataclass(frozen=True)
class ListedMember:
    """A file or a folder as the archive announces it."""

    path: PurePosixPath
    bytes: int
    is_folder: bool


def is_litter(name: str) -> bool:
    """Tell whether a member is a file that macOS adds to archives."""
    parts = name.split("/")
    return "__MACOSX" in parts or parts[-1] == ".DS_Store"


def checked_path(display_name: str, name: str, *, special: bool) -> PurePosixPath:
    """Return the path of a member inside the folder; refuse an unsafe name, or a `special` file such as a link."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    faults = {
        "an absolute path": name.startswith("/"),
        'a path with ".."': ".." in parts,
        "a path with a drive letter": bool(parts) and parts[0][1:2] == ":" and parts[0][0].isalpha(),
        "a path with a backslash": "\\" in name,
        "a path with control characters": any(unicodedata.category(sign) in {"Cc", "Cs"} for sign in name),
        "an empty path": not parts,
        "a path that is too long": len(name.encode(errors="replace")) > 1000
        or any(len(part.encode(errors="replace")) > 255 for part in parts),
        "a link or a special file": special,
    }
    for fault, there in faults.items():
        if there:
            raise unsafe_archive(display_name, f"its member {name[:200]!r} is {fault}")
    return PurePosixPath(*parts)


def check_limits(limits: ArchiveLimits, members: int, announced: int) -> None:
    """Refuse more members, or more bytes of files, than an archive may have."""
    if members > limits.max_files:
        raise archive_bomb(limits.display_name, f"it has more than {limits.max_files} members")
    if announced > limits.max_bytes:
        raise archive_bomb(limits.display_name, f"it announces more than {limits.max_bytes} bytes")


def write_members(
    members: Iterable[tuple[ListedMember, Iterable[bytes]]], to: Path, limits: ArchiveLimits
) -> list[Path]:
    """Write members, each with the chunks of its content, into the new folder `to`; return the files, sorted."""
    to.mkdir(parents=True)
    written: list[Path] = []
    for member, chunks in members:
        path = to / member.path
        if member.is_folder:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        count = 0
        with path.open("xb") as file:
            for chunk in chunks:
                count += len(chunk)
                if count > member.bytes:
                    raise archive_bomb(limits.display_name, f'its member "{member.path}" is longer than announced')
                file.write(chunk)
        if count != member.bytes:
            problem = f'its member "{member.path}" has {count} bytes, but {member.bytes} were announced'
            raise broken_archive(limits.display_name, problem)
        written.append(path)
    return sorted(written)


def check_clashes(display_name: str, members: Iterable[ListedMember]) -> None:
    """Refuse members that would become one file."""
    files: dict[str, str] = {}
    folders: dict[str, PurePosixPath] = {}
    for member in members:
        path = member.path
        folders |= {_name_on_disk(parent): parent for parent in path.parents}
        key = _name_on_disk(path)
        if member.is_folder:
            folders[key] = path
        elif key in files:
            raise unsafe_archive(display_name, f'its members "{files[key]}" and "{path}" would become one file')
        else:
            files[key] = str(path)
    for key in sorted(files.keys() & folders.keys()):
        raise unsafe_archive(display_name, f'its member "{files[key]}" is both a file and a folder')


def _name_on_disk(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())


def error_text(error: BaseException) -> str:
    """Return the text of an error without the path, which differs between machines."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).rstrip(".") or type(error).__name__


def unsafe_archive(display_name: str, problem: str) -> UnsafeArchive:
    """Return the error of an archive that must not be unpacked."""
    return UnsafeArchive(
        problem=f"{display_name}: {problem}.",
        reason="Unpacking it could write outside its folder, or write other files than it lists.",
        fix="If you trust the archive, unpack it yourself and write `sources: [{local: FOLDER}]` in the dataset's file.",
    )


def archive_bomb(display_name: str, problem: str) -> UnsafeArchive:
    """Return the error of an archive that is too large when it is unpacked."""
    return UnsafeArchive(
        problem=f"{display_name}: {problem}, which exceeds the limits.",
        reason="A malicious archive can fill the disk when it is unpacked.",
        fix="If you trust the archive, unpack it yourself and write `sources: [{local: FOLDER}]` in the dataset's file.",
    )


def broken_archive(display_name: str, problem: str) -> BrokenArchive:
    """Return the error of an archive that is damaged or incomplete."""
    return BrokenArchive(
        problem=f"{display_name}: {problem}.",
        reason="The dataset's files would be damaged or incomplete.",
        fix="Fetch or export the archive again, or unpack it yourself and write `sources: [{local: FOLDER}]` in the dataset's file.",
    )
