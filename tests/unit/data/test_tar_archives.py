"""Tar files, plain, gzip and xz, are unpacked to equal bytes inside their folder, or refused by name with nothing written."""

import gzip
import io
import lzma
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gradfaith.data.fetch import tar_archives
from gradfaith.data.fetch.archives import extract, is_complete, without_suffix
from gradfaith.errors import BrokenArchive, UnsafeArchive

FILES = {f"nut/test/crack/{n:03d}.png": random.Random(n).randbytes(300 + 50 * n) + b"same " * 40 for n in range(6)}
LIMITS = {"max_bytes": 1 << 20, "max_files": 100, "max_ratio": 200.0}
COMPRESSED: dict[str, Callable[[bytes], bytes]] = {"tar": bytes, "tar.gz": gzip.compress, "tar.xz": lzma.compress}


def unpack(content: bytes, folder: Path, **limits: float) -> dict[str, bytes]:
    (folder / "a.tar").write_bytes(content)
    to = folder / "to"
    found = extract(folder / "a.tar", to, **{**LIMITS, **limits})
    assert all(path.is_file() and not path.is_symlink() for path in found)
    return {path.relative_to(to).as_posix(): path.read_bytes() for path in found}


def member(name: str, content: bytes = b"1", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def packed(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as file:
        for info, content in members:
            file.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return buffer.getvalue()


HONEST = packed(*(member(name, content) for name, content in FILES.items()))


def linked(name: str, kind: bytes, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, b"", type=kind, linkname=target)


UNSAFE = {
    "absolute": (packed(member("/tmp/x")), "an absolute path"),
    "parent": (packed(member("../x")), '".."'),
    "parent inside": (packed(member("a/../../x")), '".."'),
    "drive": (packed(member("C:/x")), "drive letter"),
    "backslash": (packed(member("..\\x")), "backslash"),
    "newline": (packed(member("a\nb")), "control characters"),
    "not UTF-8": (packed(member("a\udcff"), form=tarfile.GNU_FORMAT), "control characters"),
    "long part": (packed(member("n" * 300)), "too long"),
    "symbolic link": (packed(linked("a", tarfile.SYMTYPE, "/etc/passwd")), "link or a special"),
    "symbolic link, then through it": (packed(linked("d", tarfile.SYMTYPE, ".."), member("d/x")), "link or a special"),
    "hard link": (packed(member("b"), linked("a", tarfile.LNKTYPE, "b")), "link or a special"),
    "hard link outside": (packed(linked("a", tarfile.LNKTYPE, "../../etc/passwd")), "link or a special"),
    "character device": (packed(member("a", b"", type=tarfile.CHRTYPE)), "link or a special"),
    "block device": (packed(member("a", b"", type=tarfile.BLKTYPE)), "link or a special"),
    "pipe": (packed(member("a", b"", type=tarfile.FIFOTYPE)), "link or a special"),
    "unknown kind": (packed(member("a", b"", type=b"Z")), "link or a special"),
    "sparse": (packed(member("a", b"1", pax_headers={"GNU.sparse.size": "9", "GNU.sparse.map": "0,1"})), "link or a special"),
    "one name twice": (packed(member("a"), member("a")), "one file"),
    "one name in two cases": (packed(member("a.png"), member("A.PNG")), "one file"),
    "file and folder": (packed(member("a"), member("a/b")), "a file and a folder"),
    "long header": (packed(member("a", b"1", pax_headers={"comment": "x" * (2 << 20)})), "header of a name"),
}  # fmt: skip
ONE = packed(member("a", b"x" * 400))
BROKEN = {
    "cut after a member": (HONEST[:1024], "mark of its end"),
    "cut in a member": (ONE[:700], "tar file"),
    "one block of the end mark": (ONE[:1536], "mark of its end"),
    "a second archive behind it": (ONE + ONE, "mark of its end"),
    "damaged second header": (HONEST.replace(b"nut/test/crack/001", b"nut/test/crack/00x", 1), "mark of its end"),
    "cut gzip": (gzip.compress(HONEST)[:-30], "ends inside its compressed data"),
    "cut xz": (lzma.compress(HONEST)[:-30], "ends inside its compressed data"),
    "gzip checksum": (gzip.compress(HONEST)[:-8] + bytes(8), "tar file"),
    "data behind gzip": (gzip.compress(HONEST) + b"more", "data follow"),
    "gzip of something else": (gzip.compress(b"no tar file" * 100), "tar file"),
    "negative size": (member("a", b"", size=-512)[0].tobuf(tarfile.GNU_FORMAT) + bytes(1024), "size"),
}


@pytest.mark.parametrize("kind", COMPRESSED)
def test_every_kind_is_unpacked_to_equal_bytes(kind: str, tmp_path: Path) -> None:
    content = COMPRESSED[kind](packed(member(".", b"", type=tarfile.DIRTYPE), *(member(*one) for one in FILES.items())))
    assert unpack(content, tmp_path) == FILES
    assert is_complete(tmp_path / "a.tar")
    assert without_suffix(f"hazelnut.{kind.upper()}") == "hazelnut"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_is_read_with_long_names_and_empty_folders(form: int, tmp_path: Path) -> None:
    files = {"d/" * 40 + "n" * 90: b"1", "ü.png": b"2", "empty.png": b""}
    folder = member("none", b"", type=tarfile.DIRTYPE)
    assert unpack(packed(folder, *(member(*one) for one in files.items()), form=form), tmp_path) == files
    assert (tmp_path / "to/none").is_dir()


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("name", UNSAFE)
def test_what_is_unsafe_is_refused_before_anything_is_written(name: str, kind: str, tmp_path: Path) -> None:
    content, said = UNSAFE[name]
    with pytest.raises(UnsafeArchive) as refused:
        unpack(COMPRESSED[kind](content), tmp_path)
    assert "a.tar" in refused.value.problem
    assert said in refused.value.problem
    assert os.listdir(tmp_path) == ["a.tar"]
    assert refused.value.problem.isprintable()


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    content, said = BROKEN[name]
    with pytest.raises(BrokenArchive, match=r"a\.tar") as refused:
        unpack(content, tmp_path)
    assert said in refused.value.problem
    assert os.listdir(tmp_path) == ["a.tar"]


def test_a_bomb_is_refused_from_what_it_announces(tmp_path: Path) -> None:
    bomb = lzma.compress(packed(member("a", bytes(5_000_000))))
    with pytest.raises(UnsafeArchive, match="announces more than"):
        unpack(bomb, tmp_path)
    with pytest.raises(UnsafeArchive, match="announces more than 1999 bytes"):
        unpack(packed(member("a", bytes(1000)), member("b", bytes(1000))), tmp_path, max_bytes=1999)
    with pytest.raises(UnsafeArchive, match="more than 5 members"):
        unpack(HONEST, tmp_path, max_files=5)
    assert os.listdir(tmp_path) == ["a.tar"]


def test_zeros_behind_the_end_mark_are_no_way_around_the_limit(tmp_path: Path) -> None:
    with pytest.raises(UnsafeArchive, match="decompresses to more than"):
        unpack(lzma.compress(ONE + bytes(20_000_000)), tmp_path)
    assert os.listdir(tmp_path) == ["a.tar"]


def test_xz_that_asks_for_much_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_archives, "XZ_MEMORY_BYTES", 1 << 20)  # the default preset needs about 9 MB
    with pytest.raises(BrokenArchive, match=r"[Mm]emory"):
        unpack(lzma.compress(HONEST), tmp_path)


def test_limits_that_are_just_met_are_met(tmp_path: Path) -> None:
    assert unpack(HONEST, tmp_path, max_bytes=sum(map(len, FILES.values())), max_files=6) == FILES


def test_nothing_of_a_members_rights_is_taken_over(tmp_path: Path) -> None:
    unpack(packed(member("a", mode=0o6777, uid=0)), tmp_path)
    assert not (tmp_path / "to/a").stat().st_mode & 0o6111


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_harmful_mutation_gives_equal_bytes_or_a_refusal(kind: str, tmp_path: Path) -> None:
    """The content of a plain tar file has no checksum, so there only headers are changed."""
    original, refused = COMPRESSED[kind](HONEST), 0
    for seed in range(60):
        (folder := tmp_path / str(seed)).mkdir()
        draw = random.Random(seed)
        data = bytearray(original)
        data[draw.randrange(512 if kind == "tar" else len(data))] ^= 1 << draw.randrange(8)
        try:
            found = unpack(bytes(data) if seed % 2 else original[: draw.randrange(len(original))], folder)
        except (UnsafeArchive, BrokenArchive):
            refused += 1
        else:
            assert sorted(found.values()) == sorted(FILES.values())
    assert refused > 40
