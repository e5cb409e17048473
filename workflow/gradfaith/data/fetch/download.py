"""Download one archive over HTTP, completely or not at all: resume, retry, never join two versions of it.

    <to>.part, <to>.part.json      the bytes received so far, and their version (ETag or Last-Modified, length)
    <to>                           the complete file, renamed when its length and its beginning are correct, and a ZIP file's directory

A download resumes with `Range` and `If-Range`, so a server whose file has changed sends the new one from its start; if a
server ignores the range, it starts again too. It is retried, after a pause that doubles and varies, if connections fail or
stall, if bodies are shorter or longer than announced, and on 408, 425, 429 and 5xx (respecting `Retry-After`). It fails
immediately, and the job is not retried, on every other status (403, 404), a web page instead of an archive, more bytes than
allowed, an address other than http or https, and an unknown server name. An attempt with at least 1 MiB of new bytes does not
count, so a large file can be downloaded over a weak connection in many pieces. A full disk ends the download.

Error texts go into records, so they name the kind of failure, without byte counts, memory addresses or paths.
"""

import json
import os
import random
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3
from requests.exceptions import InvalidSchema, InvalidURL
from tqdm import tqdm

from gradfaith.data.fetch import archives
from gradfaith.errors import CannotWrite, FetchFailed, GradFaithError, SourceInvalid, is_final_status
from gradfaith.storage import atomic

CHUNK_BYTES = 1 << 16
PROGRESS_BYTES = 1 << 20  # an attempt with this many new bytes does not count
LONGEST_PAUSE_SECONDS = 600.0
INVALID_ADDRESS = (InvalidSchema, InvalidURL, urllib3.exceptions.LocationValueError)
STATUS_MEANING = {401: "a login is needed", 403: "forbidden", 404: "not found", 410: "gone", 429: "too many requests"}


class RetryableError(Exception):
    """An attempt failed for a temporary reason; `pause`: seconds to wait, as the server requests."""

    def __init__(self, text: str, pause: float = 0.0) -> None:
        super().__init__(text)
        self.pause = pause


@dataclass(frozen=True)
class FileVersion:
    """The file and version of which a .part is the beginning; stored as <to>.part.json."""

    url: str
    validator: str = ""  # the value for `If-Range`
    total: int | None = None  # bytes


@dataclass(frozen=True)
class DownloadJob:
    """One file to download, and the files that its attempts share."""

    url: str
    to: Path
    timeout: float  # seconds
    max_bytes: int
    progress: bool  # whether a progress bar is shown

    @property
    def part(self) -> Path:
        return self.to.with_name(f"{self.to.name}.part")

    @property
    def version_file(self) -> Path:
        return self.to.with_name(f"{self.to.name}.part.json")

    def received(self) -> int:
        """Return the number of bytes received so far."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def discard(self) -> None:
        """Delete the bytes received so far."""
        self.part.unlink(missing_ok=True)
        self.version_file.unlink(missing_ok=True)


def download(
    url: str, to: Path, *, attempts: int = 5, timeout: float = 30.0, sleep: Callable[[float], None] = time.sleep,
    progress: bool = True, max_bytes: int = 1 << 36,
) -> Path:  # fmt: skip
    """Download the archive (ZIP or tar) at `url` to `to`; `timeout`: seconds of silence that end an attempt."""
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
        except OSError as error:  # connection errors are RetryableError or FetchFailed here, so this is the disk
            raise _write_failed(job, error) from error
        left, best = (attempts, job.received()) if job.received() >= best + PROGRESS_BYTES else (left - 1, best)
        if left > 0:
            share = random.uniform(0.5, 1.0)  # so that many clients do not retry at the same time
            backoff = 2.0 ** (attempts - left) * share
            sleep(max(pause, min(backoff, 60.0)))
    raise _failed(url, f"{reason} (attempt {attempts} of {attempts})", FetchFailed)


def public_address(url: str) -> str:
    """Return an address without its possibly secret parts: user, password, query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


FIXES = {  # kind of error -> fix
    FetchFailed: "Run again when the server or the connection works, or download the file yourself and set it as a `local:` source.",
    SourceInvalid: "Correct the address, or download the file yourself and set it as a `local:` source.",
}


def _failed(url: str, problem: str, kind: type[FetchFailed] = SourceInvalid) -> FetchFailed:
    """Return the error of a download that failed; of kind FetchFailed if it may succeed later."""
    reason = "The study needs the complete files of the dataset's release."
    return kind(problem=f"{public_address(url)}: {problem}.", reason=reason, fix=FIXES[kind])


def _attempt(job: DownloadJob) -> Path:
    version, have = _resumable(job)
    if version.total is None or have != version.total:
        try:
            with requests.Session() as session:
                _transfer(job, session, version, have)
        except requests.TooManyRedirects as error:
            raise _failed(job.url, "the address redirects without end") from error
        except INVALID_ADDRESS as error:
            raise _failed(job.url, "it redirects to an address that is not http or https") from error
        except requests.RequestException as error:
            if _is_unknown_host(error):
                raise _failed(job.url, "there is no server of this name") from error
            raise RetryableError(_error_text(job, error)) from error
    return _finish(job)


def _resumable(job: DownloadJob) -> tuple[FileVersion, int]:
    """Return the version and byte count of an earlier attempt; delete files from which no resume is possible."""
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
            raise _failed(job.url, f"the file has {total} bytes, but at most {job.max_bytes} are allowed")
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
        raise RetryableError(f"the connection ended before all {total} bytes were received")


def _body_range(
    job: DownloadJob, response: requests.Response, version: FileVersion, have: int
) -> tuple[int, int | None]:
    """Return the start of the body in the file, and the file's length if the server states it."""
    status = response.status_code
    if status == 416:
        job.discard()
        raise RetryableError("the server's file is shorter than the bytes already received")
    if status >= 400 and not is_final_status(status):
        raise RetryableError(f"the server answered {status}{_status_text(status)}", _retry_after(job, response))
    if status not in {200, 206}:
        raise _failed(job.url, f"the server answered {status}{_status_text(status)}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise RetryableError("the server compressed the file although that was not requested")
    if status == 200:
        return 0, _whole_number(response.headers.get("Content-Length"))
    begin, total = _content_range(response.headers.get("Content-Range", ""))
    changed = version.validator not in (response.headers.get("ETag"), response.headers.get("Last-Modified"))
    if begin != have or (version.total is not None and total != version.total) or (changed and _validator(response)):
        job.discard()
        raise RetryableError("the server sent another range or version of the file than requested")
    return have, version.total if total is None else total


def _check_length(job: DownloadJob, count: int, total: int | None) -> None:
    if count > job.max_bytes:
        job.discard()
        raise _failed(job.url, f"the file is longer than the allowed {job.max_bytes} bytes")
    if total is not None and count > total:
        job.discard()
        raise RetryableError(f"the server sent more than the {total} bytes it announced")


def _finish(job: DownloadJob) -> Path:
    """Rename a complete archive to its final name; delete anything else."""
    with job.part.open("rb") as file:
        head = file.read(512).lstrip().lower()
        os.fsync(file.fileno())
    if archives.is_complete(job.part):
        job.part.replace(job.to)
        job.version_file.unlink(missing_ok=True)
        return job.to
    job.discard()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        raise _failed(job.url, "the server sent a web page instead of an archive")
    raise RetryableError(
        "the received file is not a complete archive (ZIP, .tar, .tar.gz or .tar.xz), although the server sent all of it"
    )


def _validator(response: requests.Response) -> str:
    """Return the value for `If-Range`: a strong ETag, else the date of the last change."""
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
    """Return whether the resolver reports an unknown name; without a network it reports a temporary failure."""
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    cause = reason.__cause__ if isinstance(reason, urllib3.exceptions.NameResolutionError) else None
    return isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME


def _error_text(job: DownloadJob, error: requests.RequestException) -> str:
    """Return the kind of failure, without the sockets, addresses and queries in the text of requests."""
    inner = error.args[0] if error.args else None
    reason = getattr(inner, "reason", inner)
    if isinstance(error, requests.exceptions.SSLError):
        return "the secure connection failed: its certificate or protocol was not accepted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy refused the connection"
    if isinstance(reason, urllib3.exceptions.NameResolutionError):
        return "the server's name could not be resolved"
    if isinstance(reason, urllib3.exceptions.NewConnectionError):
        return "the connection failed"
    if isinstance(error, requests.Timeout) or isinstance(reason, urllib3.exceptions.TimeoutError):
        return f"nothing was received for {job.timeout:g} s"  # after the two above, which some versions of urllib3 count as time-outs too
    return "the connection broke"


def _write_failed(job: DownloadJob, error: OSError) -> GradFaithError:
    if error.errno not in atomic.DISK_FULL_ERRORS:
        return _failed(job.url, f"it could not be saved: {error.strerror or type(error).__name__}", FetchFailed)
    return CannotWrite(
        problem=f"{job.to} could not be written: {error.strerror}.",
        reason="The disk or your quota is full.",
        fix="Free disk space and run again: the download resumes from the bytes already received.",
    )
