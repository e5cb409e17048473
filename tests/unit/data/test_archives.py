"""ZIP files are unpacked to equal bytes inside their folder, or refused by name; nothing is ever written beside it."""

import io
import os
import random
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gradfaith.data.fetch import archives
from gradfaith.data.fetch.archives import extract
from gradfaith.errors import BrokenArchive, UnsafeArchive

FILES = {
    f"Bengin cases/Bengin case ({n}).jpg": random.Random(n).randbytes(300 + 50 * n) + b"same " * 40 for n in range(6)
}
LIMITS = {"max_bytes": 1 << 20, "max_files": 100, "max_ratio": 200.0}


def unpack(content: bytes, folder: Path, **limits: float) -> dict[str, bytes]:
    (folder / "a.zip").write_bytes(content)
    to = folder / "to"
    return {
        path.relative_to(to).as_posix(): path.read_bytes()
        for path in extract(folder / "a.zip", to, **{**LIMITS, **limits})
    }


def packed(*members: tuple[str | zipfile.ZipInfo, bytes], **options: int) -> bytes:
    buffer = io.BytesIO()
    with (
        warnings.catch_warnings(),
        zipfile.ZipFile(buffer, "w", **{"compression": zipfile.ZIP_DEFLATED, **options}) as file,
    ):
        warnings.simplefilter("ignore")  # duplicate names are meant
        for name, content in members:
            file.writestr(name, content)
    return buffer.getvalue()


def special(name: str, kind: int, content: bytes = b"/etc/passwd") -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o644) << 16
    return info, content


def named(name: str) -> bytes:
    """A name that zipfile itself would mend while writing."""
    raw = name.encode()
    return packed(("x" * len(raw), b"1")).replace(b"x" * len(raw), raw)


def patched(content: bytes, offset: int, form: str, value: int) -> bytes:
    """A field of the first member, in the local header and in the directory (there `offset` + 2)."""
    data, directory = bytearray(content), content.index(b"PK\1\2")
    struct.pack_into(form, data, offset, value)
    struct.pack_into(form, data, directory + offset + 2, value)
    return bytes(data)


def overlapping() -> bytes:
    """Two members of the directory stand on one local file."""
    data = bytearray(packed(("a", b"x" * 900), ("b", b"x" * 900)))
    second = data.index(b"PK\1\2", data.index(b"PK\1\2") + 1)
    struct.pack_into("<L", data, second + 42, 0)
    return bytes(data)


UNSAFE = {
    "absolute": (named("/tmp/x"), "an absolute path"),
    "parent": (named("../x"), '".."'),
    "parent inside": (named("a/../../x"), '".."'),
    "parent at the end": (named("a/.."), '".."'),
    "drive": (named("C:/x"), "drive letter"),
    "drive alone": (named("c:x"), "drive letter"),
    "backslash": (named("..\\x"), "backslash"),
    "share": (named("\\\\host\\x"), "backslash"),
    "newline": (named("a\nb"), "control characters"),
    "escape": (named("a\x1b[2Jb"), "control characters"),
    "nul": (named("a\x00.jpg"), "control characters"),
    "next line": (packed(("a\x85b", b"1")), "control characters"),
    "only dots": (named("./."), "an empty path"),
    "long part": (packed(("n" * 300, b"1")), "too long"),
    "long part in bytes": (packed(("\u00e9" * 200, b"1")), "too long"),
    "long path": (packed(("/".join(["n" * 100] * 12), b"1")), "too long"),
    "link": (packed(special("link", stat.S_IFLNK)), "link or a special"),
    "link to a folder, then through it": (
        packed(special("d", stat.S_IFLNK, b".."), ("d/x", b"1")),
        "link or a special",
    ),
    "pipe": (packed(special("pipe", stat.S_IFIFO)), "link or a special"),
    "device": (packed(special("device", stat.S_IFCHR)), "link or a special"),
    "socket": (packed(special("socket", stat.S_IFSOCK)), "link or a special"),
    "folder that is a file": (packed(special("folder", stat.S_IFDIR)), "link or a special"),
    "one name twice": (packed(("a", b"1"), ("a", b"2")), "one file"),
    "one name in two cases": (packed(("a.jpg", b"1"), ("A.JPG", b"2")), "one file"),
    "one name in two forms": (packed(("\u00e9", b"1"), ("e\u0301", b"2")), "one file"),
    "one name in two spellings": (packed(("a/b", b"1"), ("a/./b", b"2")), "one file"),
    "file and folder": (packed(("a", b"1"), ("a/b", b"2")), "a file and a folder"),
    "file and folder in two cases": (packed(("A/b", b"2"), ("a", b"1")), "a file and a folder"),
    "file and empty folder": (packed(("a", b"1"), ("A/", b"")), "a file and a folder"),
    "overlap": (overlapping(), "overlap"),
}
HONEST = packed(("a", b"x" * 400), ("b", b"1"))
BROKEN = {
    "encrypted": (patched(HONEST, 6, "<H", 1), "encrypted"),
    "bzip2": (packed(("a", b"1"), compression=zipfile.ZIP_BZIP2), "method 12"),
    "lzma": (packed(("a", b"1"), compression=zipfile.ZIP_LZMA), "method 14"),
    "unknown method": (patched(HONEST, 8, "<H", 99), "method 99"),
    "wrong checksum": (patched(HONEST, 14, "<L", 1), "CRC"),
    "announces more than it has": (patched(HONEST, 22, "<L", 500), "500"),
    "announces less than it has": (patched(HONEST, 22, "<L", 300), "CRC"),
    "two names": (HONEST.replace(b"a", b"c", 1), "differ"),
    "cut": (HONEST[:-30], "cannot be read as a ZIP file"),
    "empty": (b"", "cannot be read as a ZIP file"),
    "a page": (b"<html>no</html>", "cannot be read as a ZIP file"),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_what_is_unsafe_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    content, said = UNSAFE[name]
    with pytest.raises(UnsafeArchive) as refused:
        unpack(content, tmp_path)
    assert "a.zip" in refused.value.problem
    assert said in refused.value.problem
    assert os.listdir(tmp_path) == ["a.zip"]
    assert refused.value.problem.isprintable()


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_refused_by_name(name: str, tmp_path: Path) -> None:
    content, said = BROKEN[name]
    with pytest.raises(BrokenArchive) as refused:
        unpack(content, tmp_path)
    assert "a.zip" in refused.value.problem
    assert said in refused.value.problem


def test_a_bomb_is_refused_from_what_it_announces(tmp_path: Path) -> None:
    with pytest.raises(UnsafeArchive, match="announces more than"):
        unpack(packed(("a", bytes(1_000_000))), tmp_path)
    with pytest.raises(UnsafeArchive, match="announces more than 1999 bytes"):
        unpack(packed(("a", bytes(1000)), ("b", bytes(1000))), tmp_path, max_bytes=1999)
    with pytest.raises(UnsafeArchive, match="more than 5 members"):
        unpack(packed(*FILES.items()), tmp_path, max_files=5)
    assert os.listdir(tmp_path) == ["a.zip"]


def test_limits_that_are_just_met_are_met(tmp_path: Path) -> None:
    size = sum(len(content) for content in FILES.values())
    assert unpack(packed(*FILES.items()), tmp_path, max_bytes=size, max_files=6) == FILES


def test_bytes_are_counted_while_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """zipfile itself stops at the announced size; should it not, the count does."""
    monkeypatch.setattr(archives, "_member_chunks", lambda *_: iter([b"x" * 1000] * 1000))
    with pytest.raises(UnsafeArchive, match="is longer than announced"):
        unpack(packed(("a", b"1")), tmp_path, max_bytes=10_000)
    assert (tmp_path / "to/a").stat().st_size <= 10_000


def test_litter_folders_and_odd_but_harmless_names(tmp_path: Path) -> None:
    kept = {"a/b": b"1", "...": b"2", "a..b": b"3", "\u00fc/ (1).jpg": b"4", "ab:c": b"5"}
    litter = [("__MACOSX/._b", b""), ("a/.DS_Store", b""), ("empty/", b"")]
    assert unpack(packed(*litter, *kept.items()), tmp_path) == kept
    assert (tmp_path / "to/empty").is_dir()


def test_nothing_of_a_members_rights_is_taken_over(tmp_path: Path) -> None:
    unpack(packed(special("a", stat.S_IFREG | stat.S_ISUID | 0o111)), tmp_path)
    assert not (tmp_path / "to/a").stat().st_mode & (stat.S_ISUID | 0o111)


def test_an_error_of_the_system_names_no_path_of_this_machine(tmp_path: Path) -> None:
    with pytest.raises(BrokenArchive) as refused:
        extract(tmp_path / "none.zip", tmp_path / "to", **LIMITS, display_name="the archive")
    assert str(tmp_path) not in refused.value.problem


def reordered(draw: random.Random, _: bytes) -> bytes:
    return packed(*draw.sample(sorted(FILES.items()), len(FILES)))


def commented(draw: random.Random, content: bytes) -> bytes:
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as file:
        file.comment = draw.randbytes(draw.randrange(1, 200)).replace(b"PK", b"--")
    return buffer.getvalue()


def repacked(draw: random.Random, _: bytes) -> bytes:
    if draw.random() < 0.3:
        return packed(*FILES.items(), compression=zipfile.ZIP_STORED)
    return packed(*FILES.items(), compresslevel=draw.randrange(10))


def littered(draw: random.Random, _: bytes) -> bytes:
    return packed(("__MACOSX/x", draw.randbytes(9)), *FILES.items(), ("Bengin cases/.DS_Store", b"1"))


def flipped(draw: random.Random, content: bytes) -> bytes:
    data = bytearray(content)
    for place in draw.sample(range(len(data)), draw.randrange(1, 4)):
        data[place] ^= 1 << draw.randrange(8)
    return bytes(data)


def flipped_directory(draw: random.Random, content: bytes) -> bytes:
    start = content.index(b"PK\1\2")
    return content[:start] + flipped(draw, content[start:])


def truncated(draw: random.Random, content: bytes) -> bytes:
    return content[: draw.randrange(len(content))]


def holed(draw: random.Random, content: bytes) -> bytes:
    start = draw.randrange(len(content) - 100)
    return content[:start] + content[start + draw.randrange(1, 100) :]


HARMLESS: list[Callable[[random.Random, bytes], bytes]] = [reordered, commented, repacked, littered]
HARMFUL: list[Callable[[random.Random, bytes], bytes]] = [flipped, flipped_directory, truncated, holed]


@pytest.mark.parametrize("seed", range(30))
def test_a_harmless_mutation_extracts_to_equal_bytes(seed: int, tmp_path: Path) -> None:
    mutate = HARMLESS[seed % len(HARMLESS)]
    assert unpack(mutate(random.Random(seed), packed(*FILES.items())), tmp_path) == FILES


@pytest.mark.parametrize("seed", range(30))
def test_a_harmful_mutation_gives_equal_bytes_or_a_refusal(seed: int, tmp_path: Path) -> None:
    """A flipped bit may lie in a date or a name, which no checksum covers: the bytes of what is unpacked are equal even then."""
    mutate = HARMFUL[seed % len(HARMFUL)]
    try:
        found, said = unpack(mutate(random.Random(seed), packed(*FILES.items())), tmp_path), ""
    except (UnsafeArchive, BrokenArchive) as refused:
        found, said = {}, refused.problem
    assert "a.zip" in said or sorted(found.values()) == sorted(FILES.values())
    assert set(os.listdir(tmp_path)) <= {"a.zip", "to"}


def test_most_harmful_mutations_are_noticed(tmp_path: Path) -> None:
    refused = 0
    for seed in range(200):
        (folder := tmp_path / str(seed)).mkdir()
        try:
            unpack(HARMFUL[seed % len(HARMFUL)](random.Random(seed), packed(*FILES.items())), folder)
        except (UnsafeArchive, BrokenArchive):
            refused += 1
    assert refused > 120


def test_a_full_disk_is_not_taken_for_a_damaged_archive(full, tmp_path: Path) -> None:
    folder, limit = full
    content = packed(("a", random.Random(0).randbytes(40_000) * 10))
    (tmp_path / "a.zip").write_bytes(content)
    with (
        limit(),
        pytest.raises(OSError, match=r"large|space"),
    ):  # fetch makes a CannotWrite of it: it knows what is kept
        extract(tmp_path / "a.zip", folder / "to", **LIMITS)
