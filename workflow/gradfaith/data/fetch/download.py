"""One ZIP file over HTTP, whole or not at all: it resumes, retries, and never glues two versions together.

    <to>.part, <to>.part.json      what has come so far, and of which version (ETag or Last-Modified, length)
    <to>                           the whole file, renamed when its length and its ZIP directory are as they should be

Resumed with `Range` and `If-Range`, so that a server whose file has changed sends the new one from its start; a server
that ignores the range starts again too. Tried again, after a pause that doubles and varies: connections that fail or stall, bodies
shorter or longer than announced, 408, 425, 429 and 5xx (`Retry-After` is honoured). Failed at once: every other status (403, 404), a
web page in place of a ZIP file, more bytes than allowed, an address that is not http or https. An attempt that brought at least
1 MiB of news does not count, so that a weak line fetches a large file in many pieces. A full disk stops everything.

What is said of a failure goes into records, so it names kinds of failure and holds no byte counts, addresses in memory or paths.
"""

import json
import os
import random
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3
from tqdm import tqdm

from gradfaith.errors import CannotWrite, FetchFailed, Refusal
from gradfaith.storage import atomic

CHUNK = 1 << 16
NEWS = 1 << 20
LONGEST_PAUSE = 600.0
AGAIN = {408, 425, 429}
MEANING = {401: "a login is needed", 403: "forbidden", 404: "not found", 410: "gone", 429: "too many requests"}


class Again(Exception):
    """An attempt that failed in a way that the next one may not."""

    def __init__(self, said: str, pause: float = 0.0) -> None:
        super().__init__(said)
        self.pause = pause


@dataclass(frozen=True)
class Version:
    """Which file a .part is the beginning of."""

    url: str
    validator: str = ""
    total: int | None = None


@dataclass(frozen=True)
class Job:
    """What every attempt needs to know."""

    url: str
    to: Path
    timeout: float
    max_bytes: int
    progress: bool

    @property
    def part(self) -> Path:
        return self.to.with_name(f"{self.to.name}.part")

    @property
    def note(self) -> Path:
        return self.to.with_name(f"{self.to.name}.part.json")

    def have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def download(
    url: str, to: Path, *, attempts: int = 5, timeout: float = 30.0, sleep: Callable[[float], None] = time.sleep,
    progress: bool = True, max_bytes: int = 1 << 36,
) -> Path:  # fmt: skip
    """The ZIP file at `url`, as `to`."""
    if urlsplit(url).scheme not in {"http", "https"}:
        raise failed(url, "the address is neither http nor https")
    job = Job(url, to, timeout, max_bytes, progress)
    left, best, said = attempts, job.have(), "it was not tried"
    while left > 0:
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            return _attempt(job)
        except Again as again:
            said, pause = str(again), again.pause
        except OSError as error:  # the line's own errors are Again or FetchFailed by now: this is the disk
            raise _unwritten(job, error) from error
        left, best = (attempts, job.have()) if job.have() >= best + NEWS else (left - 1, best)
        if left > 0:
            backoff = 2.0 ** (attempts - left) * random.uniform(
                0.5, 1.0
            )  # so that many clients do not come back at once
            sleep(max(pause, min(backoff, 60.0)))
    raise failed(url, f"{said} (attempt {attempts} of {attempts})")


def shown(url: str) -> str:
    """An address without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def failed(url: str, what: str) -> FetchFailed:
    return FetchFailed(
        found=f"{shown(url)}: {what}.",
        why="The dataset's files are needed whole, as their release has them.",
        then="Run again when the server or the line is back, or fetch the file by hand and name it as a local source.",
    )


def _attempt(job: Job) -> Path:
    version, have = _begun(job)
    if version.total is None or have != version.total:
        try:
            with requests.Session() as session:
                _transfer(job, session, version, have)
        except requests.TooManyRedirects as error:
            raise failed(job.url, "it leads from address to address without end") from error
        except (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL) as error:
            raise failed(job.url, "it leads to an address that is no http or https address") from error
        except requests.RequestException as error:
            raise Again(_broke(job, error)) from error
    return _finish(job)


def _begun(job: Job) -> tuple[Version, int]:
    """What an earlier attempt left that can be continued; what cannot is thrown away."""
    try:
        version = Version(**json.loads(job.note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        version = Version("")
    have = job.have()
    if version.url != job.url or (version.total is not None and have > version.total) or not version.validator:
        job.discard()
        return Version(job.url), 0
    return version, have


def _transfer(job: Job, session: requests.Session, version: Version, have: int) -> None:
    headers = {"Accept-Encoding": "identity", "User-Agent": "gradfaith"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version.validator}
    with session.get(job.url, headers=headers, stream=True, timeout=job.timeout) as response:
        start, total = _answer(job, response, version, have)
        if total is not None and total > job.max_bytes:
            raise failed(job.url, f"it is {total} bytes long, {job.max_bytes} are allowed")
        if start == 0:
            job.discard()  # in this order, so that a kill leaves no bytes beside another version's note
            atomic.write_text(job.note, json.dumps(asdict(Version(job.url, _validator(response), total))))
        with (
            job.part.open("ab") as file,
            tqdm(
                total=total, initial=start, unit="B", unit_scale=True, desc=job.to.name, disable=None if job.progress else True
            ) as bar,
        ):  # fmt: skip
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
                start += len(chunk)
                _check_length(job, start, total)
    if total is not None and start < total:
        raise Again(f"the connection ended before all of the {total} bytes had come")


def _answer(job: Job, response: requests.Response, version: Version, have: int) -> tuple[int, int | None]:
    """Where the body begins in the file, and how long the file is, if that is said."""
    status = response.status_code
    if status == 416:
        job.discard()
        raise Again("the server holds less than what had come already")
    if status in AGAIN or status >= 500:
        raise Again(f"the server answered {status}{_meaning(status)}", _retry_after(job, response))
    if status not in {200, 206}:
        raise failed(job.url, f"the server answered {status}{_meaning(status)}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Again("the server packed the file once more, which was not asked for")
    if status == 200:
        return 0, _number(response.headers.get("Content-Length"))
    begin, total = _content_range(response.headers.get("Content-Range", ""))
    changed = version.validator not in (response.headers.get("ETag"), response.headers.get("Last-Modified"))
    if begin != have or (version.total is not None and total != version.total) or (changed and _validator(response)):
        job.discard()
        raise Again("the server sent another piece of the file than was asked for, or of another version")
    return have, version.total if total is None else total


def _check_length(job: Job, count: int, total: int | None) -> None:
    if count > job.max_bytes:
        job.discard()
        raise failed(job.url, f"it is longer than the {job.max_bytes} bytes allowed")
    if total is not None and count > total:
        job.discard()
        raise Again(f"the server sent more than the {total} bytes it announced")


def _finish(job: Job) -> Path:
    """A whole ZIP file gets its name; anything else is thrown away."""
    with job.part.open("rb") as file:
        head = file.read(512).lstrip().lower()
        os.fsync(file.fileno())
    if zipfile.is_zipfile(job.part) and head.startswith(b"pk"):
        job.part.replace(job.to)
        job.note.unlink(missing_ok=True)
        return job.to
    job.discard()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        raise failed(job.url, "a web page came in place of a ZIP file")
    raise Again("what came is no whole ZIP file, though the server said that this was all")


def _validator(response: requests.Response) -> str:
    """What `If-Range` takes: a strong ETag, else the date of the last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _retry_after(job: Job, response: requests.Response) -> float:
    said = response.headers.get("Retry-After", "")
    try:
        pause = float(said) if said.strip().isdigit() else parsedate_to_datetime(said).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    if pause > LONGEST_PAUSE:
        raise failed(
            job.url, f"the server answered {response.status_code} and asks to wait longer than {LONGEST_PAUSE:.0f} s"
        )
    return max(pause, 0.0)


def _content_range(said: str) -> tuple[int | None, int | None]:  # bytes 5-9/10
    span, _, total = said.removeprefix("bytes ").partition("/")
    return _number(span.partition("-")[0]), _number(total)


def _number(said: str | None) -> int | None:
    return int(said) if said is not None and said.strip().isascii() and said.strip().isdigit() else None


def _meaning(status: int) -> str:
    return f" ({MEANING[status]})" if status in MEANING else ""


def _broke(job: Job, error: requests.RequestException) -> str:
    """In the same words everywhere: requests itself names sockets, memory addresses and queries, which may be secret."""
    inner = error.args[0] if error.args else None
    reason = getattr(inner, "reason", inner)
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection could be made: the certificate, or the protocol, is not accepted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy lets nothing through"
    if isinstance(reason, urllib3.exceptions.NameResolutionError):
        return "the server's name is not known, or there is no network"
    if isinstance(reason, urllib3.exceptions.NewConnectionError):
        return "no connection could be made"
    if isinstance(error, requests.Timeout) or isinstance(reason, urllib3.exceptions.TimeoutError):
        return f"nothing came for {job.timeout:g} s"  # after the two above: to some versions of urllib3 they are time-outs too
    return "the connection broke"


def _unwritten(job: Job, error: OSError) -> Refusal:
    if error.errno not in atomic.FULL:
        return failed(job.url, f"it could not be kept here: {error.strerror or type(error).__name__}")
    return CannotWrite(
        found=f"{job.to} could not be written: {error.strerror}.",
        why="The disk, or your share of it, is full; half a ZIP file is of no use.",
        then="Free space and run again: what has come is kept, and only the rest is fetched.",
    )
