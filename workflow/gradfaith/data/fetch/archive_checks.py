"""Check the members of an archive before anything is written, and name what is wrong with an archive.

Unsafe: absolute paths, "..", drive letters and backslashes, control characters, names too long, links and other special
files, two members of one name (also if only case or Unicode form differs, because some filesystems would make one file of
them), a file that is also a folder, and more files or bytes than allowed. Litter of macOS is skipped.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from gradfaith.errors import BrokenArchive, UnsafeArchive

CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may unpack to, and its name in error messages."""

    max_bytes: int  # of all files together
    max_files: int
    display_name: str


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


def check_clashes(display_name: str, members: Iterable[tuple[PurePosixPath, bool]]) -> None:
    """Refuse members that would become one file; each member is its path and whether it is a folder."""
    files: dict[str, str] = {}
    folders: dict[str, PurePosixPath] = {}
    for path, is_folder in members:
        folders |= {_name_on_disk(parent): parent for parent in path.parents}
        key = _name_on_disk(path)
        if is_folder:
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
