"""A dataset's files, from the first of its sources that has them, into resources/<name>/raw: whole, or not at all.

    local       a folder or a ZIP file on this machine: copied, or unpacked
    url         a ZIP file over HTTP, kept in <folder>/download (data/fetch/download.py); delete it there to fetch it anew
    kagglehub   a Kaggle handle, if the package kagglehub is installed
    manual      what a person has to do; the last resort

A source that fails is normal: why is remembered and the next one is tried. Files are gathered in a hidden sibling of raw/ that
takes its name in one step, so that a kill leaves the old files, the new ones or none, never a mix. ZIP files inside the ZIP file are
unpacked too, one level deep. A download that is damaged is thrown away, one that is unsafe is put aside as <file>.refused, so that
the next run fetches it anew. The record of what came holds no time and no path of this machine beyond those the sources name.
"""

import hashlib
import importlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gradfaith.config.dataset import Source
from gradfaith.data.fetch import archives, release
from gradfaith.errors import BrokenArchive, CannotWrite, FetchFailed, Refusal, UnsafeArchive
from gradfaith.storage.atomic import FULL

MAX_BYTES, MAX_FILES, MAX_RATIO = 1 << 37, 2_000_000, 200.0


def fetch(sources: Sequence[Source], folder: Path, known: Path | None, *, root: Path) -> dict[str, Any]:
    """Fill <folder>/raw; `known` is the release's list of files (data/fetch/release.py), `root` where relative paths begin."""
    tried: list[dict[str, str]] = []
    details: list[str] = []
    for source in sources:
        try:
            with _draft(folder) as draft:
                _bring(source, draft, folder, root)
                record = {"from": _told(source), "tried": tried, **_described(draft, known, str(source))}
                _replace(folder / "raw", draft)
                return record
        except CannotWrite:
            raise  # a full disk is full for the next source as well
        except Refusal as refusal:
            tried.append({"source": _told(source), "failed": refusal.found})
            details.append(f"{_told(source)}: {refusal.found}{_foreign(refusal, source)}")
    raise _nothing(folder, sources, details)


def _bring(source: Source, draft: Path, folder: Path, root: Path) -> None:
    if source.local is not None:
        _local(source.local, source.sha256, draft, root)
    elif source.url is not None:
        _url(source.url, source.sha256, draft, folder / "download")
    elif source.kagglehub is not None:
        _copy(_kaggle(source.kagglehub), draft, source.kagglehub)
    else:
        raise _no(str(source.manual))


def _local(local: str, sha256: str | None, draft: Path, root: Path) -> None:
    path = root / Path(local).expanduser()
    if path.is_dir():
        if sha256:
            raise _no(f"{local} is a folder, and sha256 is the hash of a ZIP file")
        _copy(path, draft, local)
    elif path.is_file():
        _check(path, sha256, local)
        _unpack(path, draft, local)
    else:
        raise _no(f"{local} is not there")


def _url(url: str, sha256: str | None, draft: Path, kept: Path) -> None:
    # Here, because requests loads slowly, and reading a study must not wait for it
    from gradfaith.data.fetch.download import download, shown

    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", url.rpartition("/")[2].partition("?")[0].removesuffix(".zip"))[:60]
    file = kept / f"{stem}-{hashlib.sha256(url.encode()).hexdigest()[:8]}.zip"
    if not file.is_file():
        download(url, file, max_bytes=MAX_BYTES)
    try:
        _check(file, sha256, shown(url))
        _unpack(file, draft, shown(url))
    except UnsafeArchive:
        file.replace(
            file.with_name(f"{file.name}.refused")
        )  # for a person to look into; kept as it was, it would fail every later run
        raise
    except BrokenArchive:
        file.unlink()
        raise


def _check(file: Path, sha256: str | None, called: str) -> None:
    if sha256 and (found := _sha256(file)) != sha256:
        raise BrokenArchive(
            found=f"{called} has the sha256 {found}, not {sha256}.",
            why="It is damaged, or another version than the one that was asked for.",
            then="Fetch it again, or correct the source's `sha256:`.",
        )


def _unpack(file: Path, draft: Path, called: str) -> None:
    """The ZIP file, and the ZIP files in it."""
    with _full_disk(draft, called):
        files = archives.extract(
            file, draft, max_bytes=MAX_BYTES, max_files=MAX_FILES, max_ratio=MAX_RATIO, called=called
        )
        left, number = MAX_BYTES - sum(path.stat().st_size for path in files), MAX_FILES - len(files)
        for inner in (path for path in files if path.suffix.lower() == ".zip"):
            to = inner.with_suffix("")
            while to.exists():
                to = to.with_name(f"{to.name} (unpacked)")
            name = f"{called}, in it {inner.relative_to(draft)}"
            more = archives.extract(inner, to, max_bytes=left, max_files=number, max_ratio=MAX_RATIO, called=name)
            left, number = left - sum(path.stat().st_size for path in more), number - len(more)
            inner.unlink()
        if not any(path.is_file() for path in draft.rglob("*")):
            raise BrokenArchive(
                found=f"{called} holds no files.", why="A dataset has some.", then="Fetch or export the archive again."
            )


def _kaggle(handle: str) -> Path:
    try:
        return Path(importlib.import_module("kagglehub").dataset_download(handle))
    except ImportError as error:
        raise _no("the package kagglehub is not installed") from error
    except Exception as error:  # whatever a foreign package raises, the next source is tried
        raise _no(f"kagglehub failed: {type(error).__name__}") from error


def _copy(source: Path, draft: Path, called: str) -> None:
    """A folder's files, not links to them."""
    if draft.resolve().is_relative_to(source.resolve()):
        raise _no(f"{called} holds the folder it would be copied to")
    draft.mkdir()
    for path, relative in _walk(source, Path(), called, frozenset()):
        to = draft / relative
        with _full_disk(draft, f"{called}: {relative}"):
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)


def _walk(folder: Path, relative: Path, called: str, above: frozenset[Path]) -> Iterator[tuple[Path, Path]]:
    """Every file below, through links too, with its path in the copy."""
    real = folder.resolve()
    if real in above:
        raise _no(f"{called}: {relative} is a link to a folder it lies in")
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise _no(f"{called}: {relative} cannot be listed: {error.strerror}") from error
    for path in entries:
        inner = relative / path.name
        if path.name in {"__MACOSX", ".DS_Store"}:
            continue
        if path.is_dir():
            yield from _walk(path, inner, called, above | {real})
        elif path.is_file():
            yield path, inner
        else:
            raise _no(f"{called}: {inner} is no file: a broken link, or a special file")


@contextmanager
def _full_disk(draft: Path, called: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise CannotWrite(
                found=f"{draft.parent} could not be filled: {error.strerror}.",
                why="The disk, or your share of it, is full; half a dataset would be another dataset.",
                then="Free space and run again; what was downloaded is kept, and an older raw folder is as it was.",
            ) from error
        raise _no(f"{called}: {error.strerror or type(error).__name__}") from error


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """A path beside raw/ that is gone when the block ends, unless it was renamed. What a killed run left goes first."""
    with _full_disk(folder / "raw", str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        home = tempfile.TemporaryDirectory(prefix=".raw-", suffix=".tmp", dir=folder, ignore_cleanup_errors=True)
    for leftover in folder.glob(".raw-*.tmp"):
        if leftover != Path(home.name):
            shutil.rmtree(leftover, ignore_errors=True)
    with home:
        yield Path(home.name) / "raw"


def _replace(raw: Path, draft: Path) -> None:
    draft.chmod(0o755)
    if raw.exists() or raw.is_symlink():
        raw.rename(draft.with_name("old"))  # goes with the draft's folder
    draft.rename(raw)


def _described(draft: Path, known: Path | None, called: str) -> dict[str, Any]:
    """What came: hashes, and which copy of the release that is."""
    paths = sorted((path.relative_to(draft).as_posix(), path) for path in draft.rglob("*") if path.is_file())
    if not paths:
        raise _no(f"{called} holds no files")
    try:
        names = {name: [path.stat().st_size, _sha256(path)] for name, path in paths if name.encode()}
    except UnicodeEncodeError as error:
        raise _no(f"{called}: the name {error.object!r} is not Unicode") from error
    listing = "".join(f"{sha256}  ./{name}\n" for name, (_, sha256) in names.items())
    verdict = release.verdict(_flat(names), known) if known else release.Verdict("no list", 0)
    return {
        "release": {**asdict(verdict), "text": verdict.text},
        "files": len(names),
        "bytes": sum(size for size, _ in names.values()),
        "sha256": hashlib.sha256(listing.encode()).hexdigest(),
        "names": names,
    }


def _flat(names: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """By name without folder; of two files of one name the second keeps its folders, so that it is known in no list."""
    flat: dict[str, str] = {}
    for name, (_, sha256) in names.items():
        short = name.rpartition("/")[2]
        flat[name if short in flat else short] = sha256
    return flat


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _told(source: Source) -> str:
    """A source as the record names it: an address without its query and password."""
    if source.url is None:
        return str(source)
    from gradfaith.data.fetch.download import shown

    return f"url {shown(source.url)}"


def _no(what: str) -> FetchFailed:
    return FetchFailed(found=what, why="This source cannot serve.", then="The next one is tried.")


def _foreign(refusal: Refusal, source: Source) -> str:
    """What another package said, for the reader; not for the record, since it may differ from machine to machine."""
    return f" ({str(refusal.__cause__)[:300]})" if source.kagglehub and refusal.__cause__ else ""


def _nothing(folder: Path, sources: Sequence[Source], details: Sequence[str]) -> FetchFailed:
    by_hand = [source.manual for source in sources if source.manual is not None]
    lines = "".join(f"\n    {detail}" for detail in details if not detail.startswith("by hand: "))
    return FetchFailed(
        found=f"{folder / 'raw'} could be filled from none of its sources.{lines}",
        why="Everything after this step works on the dataset's own files.",
        then=" ".join(by_hand)
        or "Give the dataset one more source: a folder or a ZIP file on this machine, as `local:`.",
    )
