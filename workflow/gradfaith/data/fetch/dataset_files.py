"""Fetch a dataset's files from the first source that has them into resources/<name>/raw, completely or not at all.

    local       a folder or an archive (ZIP, .tar, .tar.gz, .tar.xz) on this machine: copied, or unpacked
    url         an archive over HTTP, kept in <folder>/download (data/fetch/download.py); remove it there to fetch it again
    kagglehub   a Kaggle handle, if the package kagglehub is installed
    manual      instructions for the user; the last resort

If a source fails, the record stores the reason and the next source is tried. If none works, the job is retried only if one
may work later (errors.py: FetchFailed, SourceInvalid). Files are collected in a hidden folder beside raw/, then renamed to
raw/ in one step: a kill leaves the old files, the new files or none. ZIP files inside the archive are unpacked too, one level
deep. A damaged download is deleted; an unsafe one becomes <file>.refused, and is fetched again by the next run.
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
from gradfaith.errors import (
    BrokenArchive,
    CannotWrite,
    FetchFailed,
    GradFaithError,
    SourceInvalid,
    UnsafeArchive,
    is_final_status,
)
from gradfaith.storage.atomic import DISK_FULL_ERRORS, check_writable
from gradfaith.storage.paths import download_folder, raw_folder

MAX_BYTES = 1 << 37  # of all files of a dataset
MAX_FILES = 2_000_000
MAX_RATIO = 200.0  # bytes of files per byte of their archive


def fetch(sources: Sequence[Source], folder: Path, release_list: Path | None, *, root: Path) -> dict[str, Any]:
    """Fill <folder>/raw from the first source that works, and return the record of the fetched files.

    `folder` is the dataset's in resources/; `release_list` the table of the release's files, if there is one
    (data/fetch/release.py). Relative paths of local sources start at `root`.
    """
    tried: list[dict[str, str]] = []
    details: list[str] = []
    may_pass = False  # whether a failed source may work later
    for source in sources:
        try:
            with _draft_folder(folder) as draft:
                _fill_draft(source, draft, folder, root)
                record = {
                    "from": _source_text(source),
                    "tried": tried,
                    **_describe_files(draft, release_list, str(source)),
                }
                _replace_raw(raw_folder(folder), draft)
                return record
        except CannotWrite:
            raise  # a full or read-only disk fails for the next source as well
        except GradFaithError as error:
            tried.append({"source": _source_text(source), "failed": error.problem})
            details.append(f"{_source_text(source)}: {error.problem}{_cause_text(error, source)}")
            may_pass |= error.retry
    raise _no_source_worked(folder, sources, details, FetchFailed if may_pass else SourceInvalid)


def _fill_draft(source: Source, draft: Path, folder: Path, root: Path) -> None:
    if source.local is not None:
        _from_local(source.local, source.sha256, draft, root)
    elif source.url is not None:
        _from_url(source.url, source.sha256, draft, download_folder(folder))
    elif source.kagglehub is not None:
        _copy_folder(_from_kaggle(source.kagglehub), draft, source.kagglehub)
    else:
        raise _source_invalid(str(source.manual))


def _from_local(local: str, sha256: str | None, draft: Path, root: Path) -> None:
    path = root / Path(local).expanduser()
    if path.is_dir():
        if sha256:
            raise _source_invalid(f"{local} is a folder, but sha256 is given, which is the hash of an archive")
        _copy_folder(path, draft, local)
    elif path.is_file():
        _check_sha256(path, sha256, local)
        _unpack(path, draft, local)
    else:
        raise _source_invalid(f"{local} is not there")


def _from_url(url: str, sha256: str | None, draft: Path, downloads: Path) -> None:
    # Imported here, because requests loads slowly, and reading a study should not wait for it
    from gradfaith.data.fetch.download import download, public_address

    name = url.rpartition("/")[2].partition("?")[0]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", archives.without_suffix(name))[:60]
    hashed, suffix = hashlib.sha256(url.encode()).hexdigest()[:8], archives.archive_suffix(name) or ".zip"
    file = downloads / f"{stem}-{hashed}{suffix}"
    if not file.is_file():
        download(url, file, max_bytes=MAX_BYTES)
    try:
        _check_sha256(file, sha256, public_address(url))
        _unpack(file, draft, public_address(url))
    except UnsafeArchive:
        # kept for inspection; under its own name it would fail every later run
        file.replace(file.with_name(f"{file.name}.refused"))
        raise
    except BrokenArchive:
        file.unlink()
        raise


def _check_sha256(file: Path, sha256: str | None, display_name: str) -> None:
    if sha256 and (found := _sha256(file)) != sha256:
        raise BrokenArchive(
            problem=f"{display_name} has the sha256 {found}, not {sha256}.",
            reason="The file is damaged, or is another version than the requested one.",
            fix="Fetch the file again, or correct the source's `sha256:` in the dataset's file.",
        )


def _unpack(file: Path, draft: Path, display_name: str) -> None:
    """Unpack the archive, and the ZIP files inside it."""
    with _disk_errors(draft, display_name):
        files = archives.extract(
            file, draft, max_bytes=MAX_BYTES, max_files=MAX_FILES, max_ratio=MAX_RATIO, display_name=display_name
        )
        left, number = MAX_BYTES - sum(path.stat().st_size for path in files), MAX_FILES - len(files)
        for inner in (path for path in files if path.suffix.lower() == ".zip"):
            to = inner.with_suffix("")
            while to.exists():
                to = to.with_name(f"{to.name} (unpacked)")
            name = f"{display_name}, in it {inner.relative_to(draft)}"
            more = archives.extract(inner, to, max_bytes=left, max_files=number, max_ratio=MAX_RATIO, display_name=name)
            left, number = left - sum(path.stat().st_size for path in more), number - len(more)
            inner.unlink()
        if not any(path.is_file() for path in draft.rglob("*")):
            raise BrokenArchive(
                problem=f"{display_name} contains no files.",
                reason="A dataset needs at least one file.",
                fix="Fetch or export the archive again.",
            )


def _from_kaggle(handle: str) -> Path:
    try:
        return Path(importlib.import_module("kagglehub").dataset_download(handle))
    except ImportError as error:
        raise _source_invalid("the package kagglehub is not installed") from error
    except Exception as error:  # the package may raise any error; the next source is tried
        final = is_final_status(getattr(getattr(error, "response", None), "status_code", 0))
        problem = f"kagglehub failed: {type(error).__name__}"
        raise (_source_invalid if final else _source_failed)(problem) from error


def _copy_folder(source: Path, draft: Path, display_name: str) -> None:
    """Copy a folder's files, not links to them."""
    if draft.resolve().is_relative_to(source.resolve()):
        raise _source_invalid(f"{display_name} contains the folder to which it would be copied")
    draft.mkdir()
    for path, relative in _walk_files(source, Path(), display_name, frozenset()):
        to = draft / relative
        with _disk_errors(draft, f"{display_name}: {relative}"):
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)


def _walk_files(folder: Path, relative: Path, display_name: str, above: frozenset[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield every file below, also through links, with its path in the copy."""
    real = folder.resolve()
    if real in above:
        raise _source_invalid(f"{display_name}: {relative} is a link to a folder that contains it")
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise _source_failed(f"{display_name}: {relative} cannot be listed: {error.strerror}") from error
    for path in entries:
        inner = relative / path.name
        if path.name in {"__MACOSX", ".DS_Store"}:
            continue
        if path.is_dir():
            yield from _walk_files(path, inner, display_name, above | {real})
        elif path.is_file():
            yield path, inner
        else:
            raise _source_invalid(f"{display_name}: {inner} is not a file, but a broken link or a special file")


@contextmanager
def _disk_errors(draft: Path, display_name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL_ERRORS:
            raise CannotWrite(
                problem=f"{draft.parent} could not be written: {error.strerror}.",
                reason="The disk or your quota is full, so the dataset would be incomplete.",
                fix="Free disk space and run again. Files that were downloaded are kept, and so are the images of an earlier fetch.",
            ) from error
        raise _source_failed(f"{display_name}: {error.strerror or type(error).__name__}") from error


@contextmanager
def _draft_folder(folder: Path) -> Iterator[Path]:
    """Yield a path beside raw/, removed after the block unless renamed; remove files that a killed run left."""
    check_writable([folder])
    with _disk_errors(raw_folder(folder), str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        home = tempfile.TemporaryDirectory(prefix=".raw-", suffix=".tmp", dir=folder, ignore_cleanup_errors=True)
    for leftover in folder.glob(".raw-*.tmp"):
        if leftover != Path(home.name):
            shutil.rmtree(leftover, ignore_errors=True)
    with home:
        yield raw_folder(Path(home.name))


def _replace_raw(raw: Path, draft: Path) -> None:
    draft.chmod(0o755)
    if raw.exists() or raw.is_symlink():
        raw.rename(draft.with_name("old"))  # is removed with the draft's folder
    draft.rename(raw)


def _describe_files(draft: Path, release_list: Path | None, display_name: str) -> dict[str, Any]:
    """Return the record's part about the files: sizes, hashes, and which copy of the release they are."""
    paths = sorted((path.relative_to(draft).as_posix(), path) for path in draft.rglob("*") if path.is_file())
    if not paths:
        raise _source_invalid(f"{display_name} contains no files")
    try:
        names = {name: [path.stat().st_size, _sha256(path)] for name, path in paths if name.encode()}
    except UnicodeEncodeError as error:
        raise _source_invalid(f"{display_name}: the name {error.object!r} is not Unicode") from error
    listing = "".join(f"{sha256}  ./{name}\n" for name, (_, sha256) in names.items())
    match = (
        release.match_release(_by_short_name(names), release_list)
        if release_list
        else release.ReleaseMatch("no list", 0)
    )
    return {
        "release": {**asdict(match), "text": match.text},
        "files": len(names),
        "bytes": sum(size for size, _ in names.values()),
        "sha256": hashlib.sha256(listing.encode()).hexdigest(),
        "names": names,
    }


def _by_short_name(names: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Return hashes by name without folder; of two files with one name, the second keeps its folders."""
    flat: dict[str, str] = {}
    for name, (_, sha256) in names.items():
        short = name.rpartition("/")[2]
        flat[name if short in flat else short] = sha256
    return flat


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _source_text(source: Source) -> str:
    """Return a source as text for the record: an address without its query and password."""
    if source.url is None:
        return str(source)
    from gradfaith.data.fetch.download import public_address

    return f"url {public_address(source.url)}"


def _source_failed(problem: str) -> FetchFailed:
    return FetchFailed(problem=problem, reason="The source may work later.", fix="GradFaith tries the next source.")


def _source_invalid(problem: str) -> SourceInvalid:
    return SourceInvalid(problem=problem, reason="The source cannot work.", fix="GradFaith tries the next source.")


def _cause_text(error: GradFaithError, source: Source) -> str:
    """Return another package's error text, for the log only, because it may differ between machines."""
    return f" ({str(error.__cause__)[:300]})" if source.kagglehub and error.__cause__ else ""


def _no_source_worked(
    folder: Path, sources: Sequence[Source], details: Sequence[str], kind: type[FetchFailed]
) -> FetchFailed:
    by_hand = [source.manual for source in sources if source.manual is not None]
    lines = "".join(f"\n    {detail}" for detail in details if not detail.startswith("by hand: "))
    return kind(
        problem=f"none of the sources of {raw_folder(folder)} worked.{lines}",
        reason="All later steps need the dataset's files.",
        fix=" ".join(by_hand)
        or "Add a source to the dataset's file: `local:` with a folder or an archive on this machine.",
    )
