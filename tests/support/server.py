"""A local HTTP server that does as it is told, request by request: honest, cut short, stalled, lying, or refusing.

    with Server(cut(body, 100), whole(body)) as server: ...      the first request, then every later one

What was asked and how many bytes of body were served is in `server.seen`.
"""

import contextlib
import io
import random
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass
class Seen:
    """One request, and how much of a body went out for it."""

    path: str
    range: str | None
    if_range: str | None
    sent: int = 0


class Handler(BaseHTTPRequestHandler):
    server: "Server"

    def do_GET(self) -> None:
        self.seen = Seen(self.path, self.headers.get("Range"), self.headers.get("If-Range"))
        with self.server.lock:
            self.server.seen.append(self.seen)
            step = self.server.steps[min(len(self.server.seen), len(self.server.steps)) - 1]
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client has had enough
            step(self)

    def head(self, status: int, headers: Mapping[str, object]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def body(self, data: bytes, piece: int = 1 << 14, pause: float = 0.0) -> None:
        for start in range(0, len(data), piece):
            self.wfile.write(data[start : start + piece])
            self.wfile.flush()
            self.seen.sent += len(data[start : start + piece])
            time.sleep(pause)

    def log_message(self, format: str, *args: object) -> None:
        pass


Step = Callable[[Handler], None]


class Server(ThreadingHTTPServer):
    """Listens on a free port of this machine while its block lasts."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *steps: Step) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.steps, self.seen = steps, list[Seen]()
        self.lock, self.closing = threading.Lock(), threading.Event()

    def url(self, path: str = "data.zip") -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()


def whole(body: bytes, tag: str | None = '"v1"', pause: float = 0.0) -> Step:
    """As a good server does: Range is honoured if If-Range names this version."""

    def step(handler: Handler) -> None:
        asked, version = handler.seen.range, {"ETag": tag} if tag else {}
        if asked and handler.seen.if_range in (None, tag):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            said = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}", "Content-Length": len(body) - start}
            handler.head(206, {**version, **said})
        else:
            start = 0
            handler.head(200, {**version, "Content-Length": len(body)})
        handler.body(body[start:], pause=pause)

    return step


def careless(body: bytes, tag: str = '"v1"', begin: int | None = None) -> Step:
    """Honours Range whatever If-Range says, or sends from `begin` instead of where it was asked to."""

    def step(handler: Handler) -> None:
        asked = handler.seen.range
        assert asked is not None
        start = int(asked.removeprefix("bytes=").rstrip("-")) if begin is None else begin
        said = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}", "Content-Length": len(body) - start}
        handler.head(206, {"ETag": tag, **said})
        handler.body(body[start:])

    return step


def announces(body: bytes, length: int | None, tag: str | None = '"v1"') -> Step:
    """Sends all of the body and says that it is `length` bytes long, or nothing about it. Ignores Range."""

    def step(handler: Handler) -> None:
        version = {"ETag": tag} if tag else {}
        handler.head(200, version if length is None else {**version, "Content-Length": length})
        handler.body(body)

    return step


def cut(body: bytes, after: int, tag: str | None = '"v1"') -> Step:
    """The connection ends in mid-body."""
    return announces(body[:after], len(body), tag)


def stalls(body: bytes, after: int, tag: str = '"v1"') -> Step:
    """The connection stays open and nothing more comes."""

    def step(handler: Handler) -> None:
        announces(body[:after], len(body), tag)(handler)
        handler.server.closing.wait(5)

    return step


def answers(status: int, headers: Mapping[str, object] | None = None, body: bytes = b"") -> Step:
    """A bare answer."""

    def step(handler: Handler) -> None:
        handler.head(status, {"Content-Length": len(body), **(headers or {})})
        handler.body(body)

    return step


def hangs_up(handler: Handler) -> None:
    """No answer at all."""
    handler.close_connection = True


def limited(step: Step, size: int) -> Step:
    """The step, on a line that breaks after `size` bytes."""

    def shortened(handler: Handler) -> None:
        send = handler.body
        handler.body = lambda data, **options: send(data[:size], **options)  # type: ignore[method-assign]
        step(handler)

    return shortened


def zipped(seed: int, size: int = 60_000, **more: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in {"cases/a.jpg": random.Random(seed).randbytes(size), **more}.items():
            file.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


PIECE = 4096  # what the client writes at a time; the beginnings below are multiples of it
ZIP, OTHER = zipped(1), zipped(2)
UNSAFE = zipped(3, **{"../escape": b"1"})
DAMAGED = ZIP[:500] + b"damage" + ZIP[506:]
RECOVERS: dict[str, tuple[list[Step], list[int | None], bytes]] = {  # what the server does, where each request begins, what comes
    "at once": ([whole(ZIP)], [None], ZIP),
    "cut twice": ([cut(ZIP, 20_000), limited(careless(ZIP), 9000), whole(ZIP)], [None, 16_384, 24_576], ZIP),
    "stalls": ([stalls(ZIP, 20_000), whole(ZIP)], [None, 16_384], ZIP),
    "stalls at once": ([stalls(ZIP, 0), whole(ZIP)], [None, None], ZIP),
    "hangs up": ([hangs_up, whole(ZIP)], [None, None], ZIP),
    "500, 503, fine": ([answers(500), answers(503), whole(ZIP)], [None] * 3, ZIP),
    "500 in the middle": ([cut(ZIP, 20_000), answers(500), whole(ZIP)], [None, 16_384, 16_384], ZIP),
    "announces too little": ([announces(ZIP, 30_000), whole(ZIP)], [None, None], ZIP),
    "announces too much": ([announces(ZIP, len(ZIP) + 9), whole(ZIP)], [None, 57_344, None], ZIP),
    "announces nothing": ([announces(ZIP, None)], [None], ZIP),
    "cut, nothing announced": ([announces(ZIP[:20_000], None), whole(ZIP)], [None, None], ZIP),
    "ignores Range": ([cut(ZIP, 20_000), cut(ZIP, 9000), announces(ZIP, len(ZIP))], [None, 16_384, 8192], ZIP),
    "changes between attempts": ([cut(ZIP, 20_000), whole(OTHER, '"v2"')], [None, 16_384], OTHER),
    "changes, ignores If-Range": ([cut(ZIP, 20_000), careless(OTHER, '"v2"'), whole(OTHER, '"v2"')], [None, 16_384, None], OTHER),
    "sends another piece": ([cut(ZIP, 20_000), careless(ZIP, begin=999), whole(ZIP)], [None, 16_384, None], ZIP),
    "has no version": ([cut(ZIP, 20_000, None), whole(ZIP, None)], [None, None], ZIP),
    "has a weak version": ([cut(ZIP, 20_000, 'W/"v1"'), whole(ZIP, 'W/"v1"')], [None, None], ZIP),
    "range not satisfiable": ([cut(ZIP, 20_000), answers(416), whole(ZIP)], [None, 16_384, None], ZIP),
    "packed once more": ([answers(200, {"Content-Encoding": "gzip"}, ZIP), whole(ZIP)], [None, None], ZIP),
    "redirects": ([answers(302, {"Location": "/elsewhere"}), whole(ZIP)], [None, None], ZIP),
}  # fmt: skip
FAILS: dict[str, tuple[Step, str, int]] = {
    "403": (answers(403), "403 (forbidden)", 1),
    "404": (answers(404, body=b"gone"), "404 (not found)", 1),
    "410": (answers(410), "410 (gone)", 1),
    "401": (answers(401), "401 (a login is needed)", 1),
    "a page": (answers(200, {"Content-Type": "text/html"}, b"\n<!DOCTYPE html><p>log in"), "a web page instead", 1),
    "too long": (whole(zipped(1, 90_000)), "at most 80000 are allowed", 1),
    "too long, unannounced": (announces(zipped(1, 90_000), None), "longer than the allowed 80000", 1),
    "asks for too long a pause": (answers(429, {"Retry-After": 9999}), "wait longer than 600 s", 1),
    "leads to a file": (answers(302, {"Location": "file:///etc/passwd"}), "not http or https", 1),
    "leads to ftp": (answers(302, {"Location": "ftp://127.0.0.1/x"}), "not http or https", 1),
    "leads in a circle": (answers(302, {"Location": "/data.zip"}), "without end", 31),
    "500 for ever": (answers(500), "500 (attempt 3 of 3)", 3),
    "stalls for ever": (stalls(ZIP, 0), "nothing was received for 0.2 s", 3),
    "no ZIP file": (answers(200, {}, b"PK but no more"), "not a complete archive", 3),
    "cut for ever": (cut(ZIP, 0), "connection broke", 3),
}
MAY_PASS = {"asks for too long a pause", "500 for ever", "stalls for ever", "no ZIP file", "cut for ever"}  # later
