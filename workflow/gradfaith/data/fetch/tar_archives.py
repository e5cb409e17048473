"""Unpack tar files, plain or compressed with gzip or xz, with the guarantees of data/fetch/archives.py.

    pass 1   reads every header and skips the content; names, kinds, sizes and the end mark are checked, nothing is written
    pass 2   writes the files, and checks each member once more against pass 1

Only regular files and folders are unpacked. Links, devices, pipes and sparse files are refused as unsafe, and rights and
owners are ignored. A tar file has no directory and no checksum of the content: a plain one that was cut is found by its
missing end mark (two blocks of zeros), a compressed one also by the checksum of gzip or xz. Data after the end mark are
refused, because tar programs differ in whether they read them.

What can be decompressed is bounded by `ArchiveLimits.max_bytes` and by the headers of `max_files` members. An extended header
(a long name) may have MAX_EXTENDED_BYTES, and xz may use XZ_MEMORY_BYTES. Cost: two decompressions; one chunk in memory.
"""

import lzma
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol, Self

from gradfaith.data.fetch.archive_checks import (
    CHUNK_BYTES,
    ArchiveLimits,
    ListedMember,
    archive_bomb,
    broken_archive,
    check_clashes,
    check_limits,
    checked_path,
    error_text,
    is_litter,
    unsafe_archive,
    write_members,
)

GZIP_START, XZ_START, TAR_MARK, TAR_MARK_PLACE = b"\x1f\x8b", b"\xfd7zXZ\x00", b"ustar", 257
GZIP_WINDOW = 16 + zlib.MAX_WBITS  # of zlib: with the header and the checksum of gzip
XZ_MEMORY_BYTES = 1 << 28
MAX_EXTENDED_BYTES = 1 << 20
HEADERS_PER_FILE = 8  # blocks: a header, extended headers of usual names, padding
BLOCK = tarfile.BLOCKSIZE
EXTENDED = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}
READ_ERRORS = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, ValueError, OverflowError, KeyError)


class Decompressor(Protocol):
    """What zlib's and lzma's decompressors have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _TooLarge(Exception):
    """The archive decompresses to more than it may."""


class _LongHeader(Exception):
    """An extended header is longer than it may be."""


class _CheckedHeader(tarfile.TarInfo):
    """A header; a very long extended one is refused before its content is read."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.type in EXTENDED and header.size > MAX_EXTENDED_BYTES:
            raise _LongHeader
        return header


def is_tar(archive: Path) -> bool:
    """Tell by its first bytes whether a file is a tar file, or is compressed with gzip or xz."""
    if not archive.is_file():
        return False
    with archive.open("rb") as file:
        head = file.read(BLOCK)
    return head.startswith((GZIP_START, XZ_START)) or head[TAR_MARK_PLACE:].startswith(TAR_MARK)


def extract_tar(archive: Path, to: Path, limits: ArchiveLimits) -> list[Path]:
    """Unpack a tar file into the new folder `to` and return its files, sorted."""
    listed = [member for member, _ in _members(archive, limits)]
    check_clashes(limits.display_name, listed)
    return write_members(_contents(archive, listed, limits), to, limits)


def _contents(
    archive: Path, listed: Sequence[ListedMember], limits: ArchiveLimits
) -> Iterator[tuple[ListedMember, Iterator[bytes]]]:
    """Yield the members of the second pass with their content, each compared with the first pass."""
    for (member, stream), expected in zip(_members(archive, limits), listed, strict=True):
        if member != expected:
            raise broken_archive(limits.display_name, "it changed while it was unpacked")
        yield member, _chunks(stream, member.bytes, limits)


def _members(archive: Path, limits: ArchiveLimits) -> Iterator[tuple[ListedMember, "_TarStream"]]:
    """Yield the checked members in their order, with the stream at the beginning of their content."""
    name, count, announced = limits.display_name, 0, 0
    with archive.open("rb") as file, _read_errors(limits):
        stream = _TarStream(
            file, _decompressor(file), limits.max_bytes + HEADERS_PER_FILE * BLOCK * (limits.max_files + 2)
        )
        with tarfile.open(fileobj=stream, mode="r:", tarinfo=_CheckedHeader) as opened:  # type: ignore[call-overload]
            while (member := opened.next()) is not None:
                opened.members = []  # tarfile would keep every header
                if is_litter(member.name) or (member.isdir() and member.name == "."):
                    continue
                special = member.issparse() or not (member.isfile() or member.isdir())
                path = checked_path(name, member.name, special=special)
                if member.size < 0:
                    raise broken_archive(name, f"its member {member.name!r} has a negative size")
                count, announced = count + 1, announced + member.size
                check_limits(limits, count, announced)
                yield ListedMember(path, member.size, member.isdir()), stream
        _check_end(stream, name)


def _check_end(stream: "_TarStream", name: str) -> None:
    """Check that the last block that was read, and all that follow, are the end mark."""
    followed = 0
    is_zero = not any(stream.last) and len(stream.last) == BLOCK
    while chunk := stream.read(CHUNK_BYTES):
        followed, is_zero = followed + len(chunk), is_zero and not any(chunk)
    if not is_zero or followed < BLOCK:
        raise broken_archive(name, "it is cut or damaged: the mark of its end is missing, or data follow it")


def _chunks(stream: "_TarStream", size: int, limits: ArchiveLimits) -> Iterator[bytes]:
    """Yield the content of a member; fewer bytes than `size` if the archive ends before."""
    with _read_errors(limits):
        while size and (chunk := stream.read(min(size, CHUNK_BYTES))):
            size -= len(chunk)
            yield chunk


def _decompressor(file: BinaryIO) -> Decompressor | None:
    """Return what decompresses a file, by its first bytes; None if it is plain."""
    head = file.read(len(XZ_START))
    file.seek(0)
    if head.startswith(GZIP_START):
        return zlib.decompressobj(GZIP_WINDOW)
    if head.startswith(XZ_START):
        return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)
    return None


@dataclass
class _TarStream:
    """The plain bytes of an archive, read forward only, in bounded memory and up to `most` bytes."""

    file: BinaryIO
    decompressor: Decompressor | None
    most: int
    last: bytes = b""  # what was read last
    place: int = 0
    _waiting: bytearray = field(default_factory=bytearray)

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes, or fewer at the end."""
        assert size >= 0  # tarfile always states how many
        while len(self._waiting) < size and (more := self._more()):
            self._waiting += more
        self.last = bytes(self._waiting[:size])
        del self._waiting[:size]
        self.place += len(self.last)
        return self.last

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self.place

    def seek(self, place: int, whence: int = 0) -> int:
        """Skip forward to a place."""
        assert whence == 0
        if place < self.place:
            raise tarfile.ReadError("its headers point backwards")
        while self.place < place and self.read(min(CHUNK_BYTES, place - self.place)):
            pass
        return self.place

    def _more(self) -> bytes:
        """Return the next plain bytes; none at the end."""
        chunk = self._plain_chunk()
        if self.place + len(self._waiting) + len(chunk) > self.most:
            raise _TooLarge
        return chunk

    def _plain_chunk(self) -> bytes:
        unpacker = self.decompressor
        if unpacker is None:
            return self.file.read(CHUNK_BYTES)
        while not unpacker.eof:
            data = getattr(unpacker, "unconsumed_tail", b"")  # zlib returns what it has not read, lzma keeps it
            if not data and getattr(unpacker, "needs_input", True):
                data = self.file.read(CHUNK_BYTES)
                if not data:
                    raise EOFError("it ends inside its compressed data")
            if chunk := unpacker.decompress(data, CHUNK_BYTES):
                return chunk
        if unpacker.unused_data or self.file.read(1):
            raise EOFError("data follow the end of its compressed data")
        return b""


@contextmanager
def _read_errors(limits: ArchiveLimits) -> Iterator[None]:
    name = limits.display_name
    try:
        yield
    except _TooLarge as error:
        raise archive_bomb(name, f"it decompresses to more than {limits.max_bytes} bytes of files") from error
    except _LongHeader as error:
        raise unsafe_archive(name, f"the header of a name is longer than {MAX_EXTENDED_BYTES} bytes") from error
    except READ_ERRORS as error:
        raise broken_archive(name, f"it cannot be read as a tar file: {error_text(error)}") from error
