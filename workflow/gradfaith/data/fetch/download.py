"""Download one ZIP file over HTTP, completely or not at all: resume, retry, never join two versions of it.

    <to>.part, <to>.part.json      what has come so far, and of which version (ETag or Last-Modified, length)
    <to>                           the complete file, renamed when its length and its ZIP directory are as they should be

A download resumes with `Range` and `If-Range`, so that a server whose file has changed sends the new one from
its start; with a server that ignores the range it starts again too. It is tried again, after a pause that
doubles and varies, when connections fail or stall, when bodies are shorter or longer than announced, and on
408, 425, 429 and 5xx (`Retry-After` is honoured). It fails at once, and the job has no other attempt, on every
other status (403, 404), a web page in place of a ZIP file, more bytes than allowed, an address that is not http
or https, and a server's name that does not exist. An attempt that brought at least 1 MiB of new bytes does not
count, so that a large file can come over a weak line in many pieces. A full disk stops everything.

Error texts go into records: they name kinds of failure, and no byte counts, addresses in memory or paths.
"""

import json
import os
import random
import socket
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3
from requests.exceptions import InvalidSchema, InvalidURL
from tqdm import tqdm

from gradfaith.errors import CannotWrite, FetchFailed, GradFaithError, SourceInvalid, is_final_status
from gradfaith.storage import atomic

CHUNK_BYTES = 1 << 16
PROGRESS_BYTES = 1 << 20  # new bytes with which an attempt does not count
LONGEST_PAUSE_SECONDS = 600.0
INVALID_ADDRESS = (InvalidSchema, InvalidURL, urllib3.exceptions.LocationValueError)
STATUS_MEANING = {401: "a login is needed", 403: "forbidden", 404: "not found", 410: "gone", 429: "too many requests"}


class RetryableError(Exception):
    """An attempt failed for a reason that may pass; `pause`: seconds that the server asks to wait."""

    def __init__(self, text: str, pause: float = 0.0) -> None:
        super().__init__(text)
        self.pause = pause


@dataclass(frozen=True)
class FileVersion:
    """Which version of which file a .part is the beginning of; kept as <to>.part.json."""

    url: str
    validator: str = ""  # what `If-Range` takes
    total: int | None = None  # bytes


@dataclass(frozen=True)
class DownloadJob:
    """One file to download, and the files that its attempts share."""

    url: str
    to: Path
    timeout: float  # seconds
    max_bytes: int
    progress: bool  # whether a bar is shown

    @property
    def part(self) -> Path:
        return self.to.with_name(f"{self.to.name}.part")

    @property
    def version_file(self) -> Path:
        return self.to.with_name(f"{self.to.name}.part.json")

    def received(self) -> int:
        """Return how many bytes have come so far."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def discard(self) -> None:
        """Delete what has come so far."""
        self.part.unlink(missing_ok=True)
        self.version_file.unlink(missing_ok=True)


def download(
    url: str, to: Path, *, attempts: int = 5, timeout: float = 30.0, sleep: Callable[[float], None] = time.sleep,
    progress: bool = True, max_bytes: int = 1 << 36,
) -> Path:  # fmt: skip
    """Download the ZIP file at `url` to `to`; `timeout`: seconds of silence that end an attempt."""
    if urlsplit(url).scheme not in {"http", "https"}:
        raise _failed(url, "the address is neither http nor https")
    atomic.check_writable([to.parent])
    job = DownloadJob(url, to, timeout, max_bytes, progress)
    left, best, reason = attempts, job.received(), "it was not tried"
    while left > 0:
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            return _attempt(job)
        except RetryableError as again:
            reason, pause = str(again), again.pause
        except OSError as error:  # the line's own errors are Again or FetchFailed by now: this is the disk
            raise _write_failed(job, error) from error
        left, best = (attempts, job.received()) if job.received() >= best + PROGRESS_BYTES else (left - 1, best)
        if left > 0:
            share = random.uniform(0.5, 1.0)  # so that many clients do not come back at once
            backoff = 2.0 ** (attempts - left) * share
            sleep(max(pause, min(backoff, 60.0)))
    raise _failed(url, f"{reason} (attempt {attempts} of {attempts})", FetchFailed)


def public_address(url: str) -> str:
    """Return an address without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


FIXES = {  # kind of error -> what can be done
    FetchFailed: "Run again when the server or the line is back, or fetch the file by hand and name it as a local source.",
    SourceInvalid: "Correct the address, or fetch the file by hand and name it as a local source.",
}


def _failed(url: str, problem: str, kind: type[FetchFailed] = SourceInvalid) -> FetchFailed:
    """Return the error of a download that failed; of kind FetchFailed if it may succeed later."""
    reason = "The dataset's files are needed whole, as their release has them."
    return kind(problem=f"{public_address(url)}: {problem}.", reason=reason, fix=FIXES[kind])


def _attempt(job: DownloadJob) -> Path:
    version, have = _resumable(job)
    if version.total is None or have != version.total:
        try:
            with requests.Session() as session:
                _transfer(job, session, version, have)
        except requests.TooManyRedirects as error:
            raise _failed(job.url, "it leads from address to address without end") from error
        except INVALID_ADDRESS as error:
            raise _failed(job.url, "it leads to an address that is no http or https address") from error
        except requests.RequestException as error:
            if _is_unknown_host(error):
                raise _failed(job.url, "there is no server of this name") from error
            raise RetryableError(_error_text(job, error)) from error
    return _finish(job)


def _resumable(job: DownloadJob) -> tuple[FileVersion, int]:
    """Return the version and the bytes that an earlier attempt left; delete what cannot be resumed."""
    try:
        version = FileVersion(**json.loads(job.version_file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        version = FileVersion("")
    have = job.received()
    if version.url != job.url or (version.total is not None and have > version.total) or not version.validator:
        job.discard()
        return FileVersion(job.url), 0
    return version, have


def _transfer(job: DownloadJob, session: requests.Session, version: FileVersion, have: int) -> None:
    headers = {"Accept-Encoding": "identity", "User-Agent": "gradfaith"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version.validator}
    with session.get(job.url, headers=headers, stream=True, timeout=job.timeout) as response:
        start, total = _body_range(job, response, version, have)
        if total is not None and total > job.max_bytes:
            raise _failed(job.url, f"it is {total} bytes long, {job.max_bytes} are allowed")
        if start == 0:
            job.discard()  # in this order, so that a kill leaves no bytes beside another version's file
            atomic.write_text(job.version_file, json.dumps(asdict(FileVersion(job.url, _validator(response), total))))
        with (
            job.part.open("ab") as file,
            tqdm(
                total=total, initial=start, unit="B", unit_scale=True, desc=job.to.name, disable=None if job.progress else True
            ) as bar,
        ):  # fmt: skip
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
                start += len(chunk)
                _check_length(job, start, total)
    if total is not None and start < total:
        raise RetryableError(f"the connection ended before all of the {total} bytes had come")


def _body_range(
    job: DownloadJob, response: requests.Response, version: FileVersion, have: int
) -> tuple[int, int | None]:
    """Return where the body begins in the file, and how long the file is, if the server says so."""
    status = response.status_code
    if status == 416:
        job.discard()
        raise RetryableError("the server holds less than what had come already")
    if status >= 400 and not is_final_status(status):
        raise RetryableError(f"the server answered {status}{_status_text(status)}", _retry_after(job, response))
    if status not in {200, 206}:
        raise _failed(job.url, f"the server answered {status}{_status_text(status)}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise RetryableError("the server packed the file once more, which was not asked for")
    if status == 200:
        return 0, _whole_number(response.headers.get("Content-Length"))
    begin, total = _content_range(response.headers.get("Content-Range", ""))
    changed = version.validator not in (response.headers.get("ETag"), response.headers.get("Last-Modified"))
    if begin != have or (version.total is not None and total != version.total) or (changed and _validator(response)):
        job.discard()
        raise RetryableError("the server sent another piece of the file than was asked for, or of another version")
    return have, version.total if total is None else total


def _check_length(job: DownloadJob, count: int, total: int | None) -> None:
    if count > job.max_bytes:
        job.discard()
        raise _failed(job.url, f"it is longer than the {job.max_bytes} bytes allowed")
    if total is not None and count > total:
        job.discard()
        raise RetryableError(f"the server sent more than the {total} bytes it announced")


def _finish(job: DownloadJob) -> Path:
    """Give a complete ZIP file its name; delete anything else."""
    with job.part.open("rb") as file:
        head = file.read(512).lstrip().lower()
        os.fsync(file.fileno())
    if zipfile.is_zipfile(job.part) and head.startswith(b"pk"):
        job.part.replace(job.to)
        job.version_file.unlink(missing_ok=True)
        return job.to
    job.discard()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        raise _failed(job.url, "a web page came in place of a ZIP file")
    raise RetryableError("what came is no whole ZIP file, though the server said that this was all")


def _validator(response: requests.Response) -> str:
    """Return what `If-Range` takes: a strong ETag, else the date of the last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _retry_after(job: DownloadJob, response: requests.Response) -> float:
    header = response.headers.get("Retry-After", "")
    try:
        pause = float(header) if header.strip().isdigit() else parsedate_to_datetime(header).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    if pause > LONGEST_PAUSE_SECONDS:
        words = f"the server answered {response.status_code} and asks to wait longer than {LONGEST_PAUSE_SECONDS:.0f} s"
        raise _failed(job.url, words, FetchFailed)
    return max(pause, 0.0)


def _content_range(header: str) -> tuple[int | None, int | None]:  # bytes 5-9/10
    span, _, total = header.removeprefix("bytes ").partition("/")
    return _whole_number(span.partition("-")[0]), _whole_number(total)


def _whole_number(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isascii() and text.strip().isdigit() else None


def _status_text(status: int) -> str:
    return f" ({STATUS_MEANING[status]})" if status in STATUS_MEANING else ""


def _is_unknown_host(error: requests.RequestException) -> bool:
    """Tell whether the resolver said that there is no such name; without a network it says that it cannot tell now."""
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    cause = reason.__cause__ if isinstance(reason, urllib3.exceptions.NameResolutionError) else None
    return isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME


def _error_text(job: DownloadJob, error: requests.RequestException) -> str:
    """Name the kind of failure, without the sockets, addresses and queries that requests itself names."""
    inner = error.args[0] if error.args else None
    reason = getattr(inner, "reason", inner)
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection could be made: the certificate, or the protocol, is not accepted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy lets nothing through"
    if isinstance(reason, urllib3.exceptions.NameResolutionError):
        return "the server's name cannot be looked up now"
    if isinstance(reason, urllib3.exceptions.NewConnectionError):
        return "no connection could be made"
    if isinstance(error, requests.Timeout) or isinstance(reason, urllib3.exceptions.TimeoutError):
        return f"nothing came for {job.timeout:g} s"  # after the two above: to some versions of urllib3 they are time-outs too
    return "the connection broke"


def _write_failed(job: DownloadJob, error: OSError) -> GradFaithError:
    if error.errno not in atomic.DISK_FULL_ERRORS:
        return _failed(job.url, f"it could not be kept here: {error.strerror or type(error).__name__}", FetchFailed)
    return CannotWrite(
        problem=f"{job.to} could not be written: {error.strerror}.",
        reason="The disk, or your share of it, is full; half a ZIP file is of no use.",
        fix="Free space and run again: what has come is kept, and only the rest is fetched.",
    )
