"""A dataset comes whole or not at all, from the first source that has it, over a line and a server that misbehave."""

import hashlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import server as web
from pydantic import ValidationError

from gradfaith.config.dataset import Source
from gradfaith.data.fetch import download as http
from gradfaith.data.fetch.dataset_files import fetch
from gradfaith.data.fetch.download import download
from gradfaith.errors import CannotWrite, FetchFailed, SourceInvalid


@pytest.fixture(autouse=True)
def _near(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy stands before this machine, pieces are small, and nobody waits."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(http, "CHUNK_BYTES", web.PIECE)
    monkeypatch.setattr(http, "download", partial(download, timeout=0.2, sleep=lambda _: None, progress=False))


def get(server: web.Server, to: Path, sleeps: list[float] | None = None, **options: Any) -> bytes:
    sleep = (lambda _: None) if sleeps is None else sleeps.append
    got = download(server.url(), to, **{"timeout": 0.2, "sleep": sleep, "progress": False, **options})
    assert os.listdir(to.parent) == [to.name]
    return got.read_bytes()


@pytest.mark.parametrize("name", web.RECOVERS)
def test_a_download_recovers(name: str, tmp_path: Path) -> None:
    steps, begins, expected = web.RECOVERS[name]
    with web.Server(*steps) as server:
        assert get(server, tmp_path / "d/a.zip") == expected
    assert [seen.range for seen in server.seen] == [begin and f"bytes={begin}-" for begin in begins]
    assert [seen.if_range for seen in server.seen] == [begin and '"v1"' for begin in begins]


@pytest.mark.parametrize("name", web.FAILS)
def test_a_download_fails_in_plain_words_and_in_time(name: str, tmp_path: Path) -> None:
    step, said, requests = web.FAILS[name]
    with web.Server(step) as server, pytest.raises(FetchFailed) as refused:
        get(server, tmp_path / "d/a.zip", attempts=3, max_bytes=80_000)
    assert said in refused.value.problem
    assert server.url() in refused.value.problem
    assert len(server.seen) == requests
    assert refused.value.retry == (name in web.MAY_PASS)
    assert not (tmp_path / "d/a.zip").exists()


def test_pauses_grow_and_vary_and_a_server_may_ask_for_longer_ones(tmp_path: Path) -> None:
    later, sleeps = formatdate(time.time() + 50, usegmt=True), list[float]()
    steps = [web.answers(500)] * 3 + [web.answers(429, {"Retry-After": 37}), web.answers(503, {"Retry-After": later})]
    with web.Server(*steps, web.whole(web.ZIP)) as server:
        assert get(server, tmp_path / "d/a.zip", sleeps, attempts=6) == web.ZIP
    assert all(low <= pause <= 2 * low for low, pause in zip((1, 2, 4), sleeps, strict=False))
    assert sleeps[3] == 37
    assert 40 < sleeps[4] <= 50


def test_a_weak_line_brings_a_large_file_in_many_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PROGRESS_BYTES", 3 * web.PIECE)
    body = web.zipped(1, 200_000)
    pieces = [web.limited(web.careless(body), 4 * web.PIECE)] * 12
    with web.Server(web.cut(body, 5 * web.PIECE), *pieces, web.whole(body)) as server:
        assert get(server, tmp_path / "d/a.zip", attempts=2) == body
    assert len(server.seen) > 10


def test_what_is_said_holds_no_secret_and_nothing_of_the_run(tmp_path: Path) -> None:
    said = []
    for step, place in itertools.product((web.hangs_up, web.stalls(web.ZIP, 9), web.cut(web.ZIP, 9000)), ("a", "b")):
        with web.Server(step) as server, pytest.raises(FetchFailed) as refused:
            address = server.url("x.zip?key=secret").replace("http://", "http://me:password@")
            download(address, tmp_path / place / "x", attempts=1, timeout=0.2, progress=False)
        said.append(refused.value.problem.replace(str(server.server_port), "PORT"))
    with pytest.raises(FetchFailed, match="the connection failed") as refused:  # nobody listens there any more
        download(server.url(), tmp_path / "x", attempts=1, timeout=0.2, progress=False)
    assert refused.value.retry
    assert said[0::2] == said[1::2]
    assert not any(word in text for text in said for word in ("secret", "password", "0x", str(tmp_path)))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a.zip", "a.zip"])
def test_other_addresses_than_http_are_not_asked(url: str, tmp_path: Path) -> None:
    with pytest.raises(SourceInvalid, match="neither http nor https"):
        download(url, tmp_path / "a.zip")


@pytest.mark.parametrize("url", ["http://a..b/x.zip", "http://ä..b/x.zip", f"http://{'a' * 64}.org/x.zip"])
def test_an_address_that_names_no_server_is_asked_once(url: str, tmp_path: Path) -> None:
    with pytest.raises(SourceInvalid, match="not http or https"):
        download(url, tmp_path / "a.zip", sleep=lambda _: pytest.fail("no second attempt"), progress=False)


@pytest.mark.parametrize(
    ("number", "said", "retry"),
    [
        (socket.EAI_NONAME, "there is no server of this name", False),
        (socket.EAI_AGAIN, "could not be resolved", True),
    ],
)
def test_a_name_that_does_not_exist_is_no_weak_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str, retry: bool
) -> None:
    """The resolver's two answers, which a machine without a network cannot give by itself."""
    pauses = list[float]()

    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(number, "by the resolver")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(FetchFailed, match=said) as refused:
        download("http://nobody.example/x.zip", tmp_path / "a.zip", attempts=3, sleep=pauses.append, progress=False)
    assert refused.value.retry == retry
    assert len(pauses) == (2 if retry else 0)


def test_a_full_disk_stops_a_download_which_goes_on_later(full) -> None:
    folder, limit = full
    body = web.zipped(1, 400_000)
    with web.Server(web.whole(body)) as server:
        with limit(), pytest.raises(CannotWrite) as refused:
            get(server, folder / "a.zip")
        assert len(server.seen) == 1
        assert "a.zip" in refused.value.problem
        kept = (folder / "a.zip.part").stat().st_size
        assert kept > 0
        if not os.path.ismount(folder):
            assert get(server, folder / "a.zip") == body
            assert server.seen[-1].sent == len(body) - kept


def test_a_download_killed_in_the_middle_fetches_only_the_rest(tmp_path: Path) -> None:
    body, to = web.zipped(1, 1 << 20), tmp_path / "d/a.zip"
    code = "import sys, pathlib, gradfaith.data.fetch.download as d; d.download(sys.argv[1], pathlib.Path(sys.argv[2]))"
    with web.Server(web.whole(body, pause=0.05), web.whole(body)) as server:
        process = subprocess.Popen([sys.executable, "-c", code, server.url(), to], stderr=subprocess.DEVNULL)
        part, until = to.with_name("a.zip.part"), time.monotonic() + 15
        while not (part.is_file() and part.stat().st_size > 1 << 18) and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        had = part.stat().st_size
        assert 1 << 18 < had < len(body)
        assert not to.exists()
        assert get(server, to) == body
    assert server.seen[1].range == f"bytes={had}-"
    assert server.seen[1].sent == len(body) - had


def fill(folder: Path, *sources: dict[str, str], root: Path | None = None) -> dict[str, Any]:
    record = fetch([Source(**source) for source in sources], folder, None, root=root or folder.parent)
    assert json.loads(json.dumps(record))["names"] == record["names"]
    return record


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_first_source_that_serves_is_taken(tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(web.UNSAFE)
    (tmp_path / "torn.zip").write_bytes(web.DAMAGED)
    with web.Server(web.answers(404), web.answers(200, {}, b"<html>"), web.whole(web.ZIP)) as server:
        urls = [{"url": server.url(name)} for name in ("none", "page", "a.zip?key=secret", "never")]
        record = fill(tmp_path / "x", {"local": "no"}, {"local": "bad.zip"}, {"local": "torn.zip"}, *urls)
    assert record["from"] == f"url {server.url('a.zip')}"
    words = ["is not there", '".."', "damaged", "404 (not found)", "a web page"]
    assert all(word in one["failed"] for word, one in zip(words, record["tried"], strict=True))
    assert record["tried"][0]["source"] == "local no"
    content = tree(tmp_path / "x/raw")["cases/a.jpg"]
    sha256 = hashlib.sha256(content).hexdigest()
    assert record["names"] == {"cases/a.jpg": [60_000, sha256]}
    assert (record["files"], record["bytes"]) == (1, 60_000)
    assert record["sha256"] == hashlib.sha256(f"{sha256}  ./cases/a.jpg\n".encode()).hexdigest()
    assert record["release"]["kind"] == "no list"
    assert not (tmp_path / "escape").exists()


def test_records_are_equal_on_two_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kaggle = types.SimpleNamespace(
        dataset_download=lambda _: (_ for _ in ()).throw(OSError(f"at {os.urandom(4).hex()}"))
    )
    monkeypatch.setitem(sys.modules, "kagglehub", kaggle)
    records = []
    for place in ("here", "some/where/else"):
        home = tmp_path / place
        home.mkdir(parents=True)
        (home / "bad.zip").write_bytes(web.UNSAFE)
        (home / "data.zip").write_bytes(web.ZIP)
        (home / "links").mkdir()
        (home / "links/broken").symlink_to("nowhere")
        sources = [{"local": name} for name in ("no", "bad.zip", "links", ".")]
        records.append(fill(home / "x", *sources, {"kagglehub": "a/b"}, {"local": "data.zip"}))
    assert records[0] == records[1]
    assert len(records[0]["tried"]) == 5


@pytest.mark.parametrize(
    "content", [web.UNSAFE, web.DAMAGED, web.zipped(1, **{"in.zip": b"no zip"})], ids=["unsafe", "damaged", "inner"]
)
def test_a_refused_download_is_not_in_the_way_of_the_next_run(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/b.jpg").write_bytes(b"1")
    with web.Server(web.whole(content), web.whole(web.ZIP)) as server:
        assert fill(tmp_path / "x", {"url": server.url()}, {"local": "own"})["from"] == "local own"
        assert len(server.seen) == 1
        left = [path.suffix for path in (tmp_path / "x/download").iterdir()]
        assert left == ([".refused"] if content is web.UNSAFE else [])
        assert fill(tmp_path / "x", {"url": server.url()}, {"local": "own"})["tried"] == []
        assert len(server.seen) == 2
        assert fill(tmp_path / "x", {"url": server.url()})["files"] == 1
        assert len(server.seen) == 2  # kept: not fetched again
    assert list(tree(tmp_path / "x/raw")) == ["cases/a.jpg"]


def test_a_hash_that_differs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(web.ZIP)
    right, wrong = hashlib.sha256(web.ZIP).hexdigest(), "0" * 64
    with web.Server(web.whole(web.ZIP)) as server:
        record = fill(tmp_path / "x", {"url": server.url(), "sha256": wrong}, {"local": "a.zip", "sha256": right})
        assert wrong in record["tried"][0]["failed"]
        assert fill(tmp_path / "x", {"url": server.url(), "sha256": right})["tried"] == []


def test_zip_files_in_the_zip_file_are_unpacked_one_level_deep(tmp_path: Path) -> None:
    inner = web.zipped(1, 50, **{"deep.zip": web.zipped(2, 9)})
    (tmp_path / "a.zip").write_bytes(web.zipped(1, 50, **{"top/in.zip": inner, "top/in/b.txt": b"2"}))
    fill(tmp_path / "x", {"local": "a.zip"})
    inside = ["top/in (unpacked)/cases/a.jpg", "top/in (unpacked)/deep.zip"]
    assert sorted(tree(tmp_path / "x/raw")) == ["cases/a.jpg", *inside, "top/in/b.txt"]


def test_an_old_raw_folder_is_replaced_whole_or_stays(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, name in ((old, "a"), (new, "b")):
        folder.mkdir()
        (folder / name).write_text(name)
    (new / "linked").symlink_to(old / "a")
    (new / ".DS_Store").write_text("litter")
    fill(tmp_path / "x", {"local": "old"})
    (tmp_path / "x/.raw-killed.tmp/raw").mkdir(parents=True)
    with pytest.raises(FetchFailed):
        fill(tmp_path / "x", {"local": "nothing"})
    assert tree(tmp_path / "x/raw") == {"a": b"a"}
    fill(tmp_path / "x", {"local": str(new)})
    assert tree(tmp_path / "x/raw") == {"b": b"b", "linked": b"a"}
    assert not (tmp_path / "x/raw/linked").is_symlink()
    assert os.listdir(tmp_path / "x") == ["raw"]


def test_a_full_disk_ends_the_search_and_leaves_the_old_files(full, tmp_path: Path) -> None:
    folder, limit = full
    (tmp_path / "big").mkdir()
    (tmp_path / "big/a").write_bytes(bytes(400_000))
    (tmp_path / "small").mkdir()
    (tmp_path / "small/b").write_text("b")
    fill(folder / "x", {"local": str(tmp_path / "small")})
    with limit(), pytest.raises(CannotWrite):
        fill(folder / "x", {"local": str(tmp_path / "big")}, {"local": str(tmp_path / "small")})
    assert tree(folder / "x") == {"raw/b": b"b"}


@pytest.mark.parametrize("kind", ["itself", "a loop", "empty", "hash of a folder"])
def test_local_folders_that_cannot_serve(kind: str, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    if kind == "a loop":
        (tmp_path / "own/loop").symlink_to(tmp_path / "own")
    hashed = {"sha256": "0" * 64} if kind == "hash of a folder" else {}
    said = {
        "itself": "to which it would be copied",
        "a loop": "link to a folder that contains it",
        "empty": "contains no files",
    }
    with pytest.raises(FetchFailed, match=said.get(kind, "is a folder, but sha256")):
        fill(tmp_path / "x", {"local": "." if kind == "itself" else "own", **hashed})


def test_where_all_fails_all_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)  # as if it were not installed
    with pytest.raises(FetchFailed) as refused:
        fill(tmp_path / "x", {"local": "no"}, {"kagglehub": "a/b"}, {"manual": "Ask the authors."})
    assert "local no: no is not there" in refused.value.problem
    assert "kagglehub a/b: the package kagglehub is not installed" in refused.value.problem
    assert refused.value.fix == "Ask the authors."
    with pytest.raises(FetchFailed) as refused:
        fill(tmp_path / "x", {"local": "no"})
    assert "Add a source" in refused.value.fix


LATER: dict[str, tuple[list[dict[str, str]], list[web.Step], bool]] = {  # sources, what the server does, is the job tried again
    "404": ([{"url": "SERVER/a.zip"}], [web.answers(404)], False),
    "410": ([{"url": "SERVER/a.zip"}], [web.answers(410)], False),
    "another checksum": ([{"url": "SERVER/a.zip", "sha256": "0" * 64}], [web.whole(web.ZIP)], False),
    "no folder": ([{"local": "no"}], [], False),
    "by hand": ([{"manual": "Ask the authors."}], [], False),
    "404, no folder, by hand": ([{"url": "SERVER/a.zip"}, {"local": "no"}, {"manual": "Ask."}], [web.answers(404)], False),
    "503": ([{"url": "SERVER/a.zip"}], [web.answers(503)], True),
    "silence": ([{"url": "SERVER/a.zip"}], [web.stalls(web.ZIP, 0)], True),
    "nobody listens": ([{"url": "http://127.0.0.1:1/a.zip"}], [], True),
    "404, then 503": ([{"url": "SERVER/a.zip"}, {"url": "SERVER/b.zip"}], [web.answers(404), web.answers(503)], True),
    "503, then by hand": ([{"url": "SERVER/a.zip"}, {"manual": "Ask."}], [web.answers(503)], True),
}  # fmt: skip


@pytest.mark.parametrize("name", LATER)
def test_a_job_is_tried_again_only_where_a_source_may_serve_later(name: str, tmp_path: Path) -> None:
    sources, steps, retry = LATER[name]
    with web.Server(*steps or [web.answers(404)]) as server, pytest.raises(FetchFailed) as refused:
        here = server.url("").rstrip("/")
        fill(tmp_path / "x", *({key: text.replace("SERVER", here) for key, text in one.items()} for one in sources))
    assert refused.value.retry == retry
    assert isinstance(refused.value, SourceInvalid) != retry


@pytest.mark.parametrize(("status", "retry"), [(403, False), (404, False), (429, True), (503, True)])
def test_what_kagglehub_is_answered_decides_whether_it_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, retry: bool
) -> None:
    with web.Server(web.answers(status)) as server:

        def asks(_: str) -> None:
            requests.get(server.url(), timeout=5).raise_for_status()

        monkeypatch.setitem(sys.modules, "kagglehub", types.SimpleNamespace(dataset_download=asks))
        with pytest.raises(FetchFailed, match="kagglehub failed: HTTPError") as refused:
            fill(tmp_path / "x", {"kagglehub": "owner/data"})
    assert refused.value.retry == retry


def test_kagglehub_serves_or_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/a.jpg").write_text("a")
    answer = {"owner/data": str(tmp_path / "cache")}.__getitem__
    monkeypatch.setitem(sys.modules, "kagglehub", types.SimpleNamespace(dataset_download=answer))
    assert fill(tmp_path / "x", {"kagglehub": "owner/data"})["from"] == "kagglehub owner/data"
    with pytest.raises(FetchFailed, match=r"kagglehub failed: KeyError \('owner/other'\)"):
        fill(tmp_path / "y", {"kagglehub": "owner/other"})


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({}, "this has none"),
        ({"local": "a", "url": "https://host/a.zip"}, "this has local and url"),
        ({"url": "ftp://host/a.zip"}, "pattern"),
        ({"url": "http:///a.zip"}, "the server or the port is missing"),
        ({"url": "https://[::1/a.zip"}, "Invalid IPv6 URL"),
        ({"url": "https://host:99999/a.zip"}, "Port out of range"),
        ({"kagglehub": "nameless"}, "pattern"),
        ({"local": ""}, "at least 1 character"),
        ({"manual": "ask", "sha256": "0" * 64}, "a manual source has none"),
        ({"local": "a", "sha256": "short"}, "pattern"),
        ({"locale": "a"}, "Extra inputs"),
    ],
)
def test_a_source_is_exactly_one_thing(source: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Source(**source)


def test_a_read_only_folder_ends_the_fetch_and_is_not_taken_for_a_bad_source(
    tmp_path: Path, read_only: Callable[[Path], None]
) -> None:
    for folder in ("source", "resources"):
        (tmp_path / folder).mkdir()
    (tmp_path / "source/a.png").write_bytes(b"x")
    read_only(tmp_path / "resources")
    sources = [Source(local="source"), Source(manual="by hand")]
    with pytest.raises(CannotWrite, match=r"resources/mine cannot be written to: ") as refusal:
        fetch(sources, tmp_path / "resources/mine", None, root=tmp_path)
    assert str(tmp_path / "resources") in refusal.value.fix
    with web.Server(web.whole(b"PK")) as server, pytest.raises(CannotWrite, match="resources/mine/download"):
        download(server.url(), tmp_path / "resources/mine/download/a.zip")
    assert server.seen == [], "nothing is downloaded that cannot be kept"
