"""One holder of a folder: a living one is refused whatever the filesystem offers, one that is gone is not."""

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from gradfaith.errors import JobAlive, LockLost
from gradfaith.runtime.folder_lock import LOCK_FILE, FolderLock, process_start, remove_folder

HOLD = """
import sys, time
from pathlib import Path
from gradfaith.runtime.folder_lock import FolderLock
with FolderLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["locks", "no locks"])
def filesystem(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with locks, and one that knows none."""

    def none(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    if request.param == "no locks":
        monkeypatch.setattr(fcntl, "flock", none)


def says(folder: Path, **words: Any) -> None:
    own = psutil.Process()
    said = {"host": os.uname().nodename, "pid": own.ppid(), "start": process_start(own.ppid())}
    (folder / LOCK_FILE).write_text(json.dumps(said | words))


@pytest.mark.usefixtures("filesystem")
def test_another_process_is_refused_while_it_lives_and_not_after(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(JobAlive, match=f"is held by process {other.pid} on {os.uname().nodename}"),
            FolderLock(tmp_path),
        ):
            pass
    finally:
        other.kill()
        other.wait()
    with FolderLock(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()
    with FolderLock(tmp_path):
        pass


@pytest.mark.usefixtures("filesystem")
@pytest.mark.parametrize("words", [{"start": "1"}, {"pid": 2**22 + 5}])
def test_a_process_that_is_gone_or_another_under_its_number_is_taken_over_from(
    tmp_path: Path, words: dict[str, Any]
) -> None:
    says(tmp_path, **words)
    with FolderLock(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"pid": 4}'])
def test_half_a_lock_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / LOCK_FILE).write_text(text)
    with FolderLock(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()


def test_a_holder_on_another_machine_lives_while_it_touches_the_file(tmp_path: Path) -> None:
    says(tmp_path, host="elsewhere")
    over = threading.Event()

    def touch() -> None:
        while not over.wait(0.05):
            os.utime(tmp_path / LOCK_FILE)

    toucher = threading.Thread(target=touch)
    toucher.start()
    try:
        with pytest.raises(JobAlive, match="on elsewhere"), FolderLock(tmp_path, silence=20.0):
            pass
    finally:
        over.set()
        toucher.join()
    with FolderLock(tmp_path, silence=0.3):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["host"] == os.uname().nodename


def test_a_holder_shows_that_it_lives(tmp_path: Path) -> None:
    with FolderLock(tmp_path, heartbeat=0.02):
        before, end = (tmp_path / LOCK_FILE).stat().st_mtime_ns, time.monotonic() + 10
        while (tmp_path / LOCK_FILE).stat().st_mtime_ns == before:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_folder_that_went_with_its_work_is_no_fault(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "a", heartbeat=0.01):
        (tmp_path / "a" / LOCK_FILE).unlink()
        (tmp_path / "a").rmdir()
        time.sleep(0.05)
    assert not (tmp_path / "a").exists()


def test_a_folder_is_removed_unless_it_is_held(tmp_path: Path) -> None:
    folder = tmp_path / "progress"
    assert remove_folder(folder)
    assert not folder.exists(), "nothing is made to be removed"
    with FolderLock(folder):
        (folder / "state").touch()
        assert not remove_folder(folder)
        assert (folder / "state").exists()
    assert remove_folder(folder)
    assert not folder.exists()


def test_the_lock_is_closed_before_its_folder_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_files: list[str] = []

    def seen(folder: Path) -> None:
        open_files.extend(file.path for file in psutil.Process().open_files() if str(folder) in file.path)
        rmdir(folder)

    rmdir = Path.rmdir
    monkeypatch.setattr(Path, "rmdir", seen)
    with FolderLock(tmp_path / "progress"):
        pass
    assert remove_folder(tmp_path / "progress")
    assert open_files == [], "a network filesystem keeps open files, and so the folder"


def test_a_folder_taken_as_it_is_removed_stays_with_its_taker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, rmdir, taken = tmp_path / "progress", Path.rmdir, list[FolderLock]()

    def late(path: Path) -> None:
        taken.append(FolderLock(folder).__enter__())
        (folder / "state").write_text("mine")
        rmdir(path)

    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rmdir", late)
        assert not remove_folder(folder)
    assert (folder / "state").read_text() == "mine"
    with pytest.raises(JobAlive), FolderLock(folder):
        pass
    taken[0].__exit__(None, None, None)
    assert remove_folder(folder)


@pytest.mark.parametrize("gone", ["lock", "folder"])
def test_a_lock_that_is_removed_as_it_is_opened_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    folder, opened, seen = tmp_path / "progress", Path.open, list[int]()

    def late(path: Path, *how: Any, **words: Any) -> Any:
        if not seen and gone == "folder":
            seen.append(0)
            folder.rmdir()
        file = opened(path, *how, **words)
        if not seen:
            seen.append(0)
            path.unlink()
        return file

    monkeypatch.setattr(Path, "open", late)
    with FolderLock(folder) as held:
        assert seen
        assert json.loads(held.path.read_text())["pid"] == os.getpid()
        with pytest.raises(JobAlive), FolderLock(folder):
            pass


def test_of_two_that_begin_at_once_without_locks_the_first_written_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both found nobody; the other's words came before, or after, ours."""

    def none(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    for name, mine in (("before", False), ("after", True)):
        folder, other = tmp_path / name, json.dumps({"host": "elsewhere", "pid": 7, "start": "1"})

        def wrote(_: float, folder: Path = folder, other: str = other, mine: bool = mine) -> None:
            own = (folder / LOCK_FILE).read_text()
            (folder / LOCK_FILE).write_text(own + other if mine else other + own)

        with monkeypatch.context() as patch:
            patch.setattr("gradfaith.runtime.folder_lock.time.sleep", wrote)
            if mine:
                with FolderLock(folder):
                    pass
            else:
                with pytest.raises(JobAlive, match="held by process 7 on elsewhere"), FolderLock(folder):
                    pass
                assert (folder / LOCK_FILE).read_text().startswith(other), "the holder's words are not wiped"


def test_who_was_taken_over_leaves_the_words_of_who_holds_now(tmp_path: Path) -> None:
    other = json.dumps({"host": "elsewhere", "pid": 7, "start": "1"})
    with FolderLock(tmp_path):
        (tmp_path / LOCK_FILE).write_text(other)
    assert (tmp_path / LOCK_FILE).read_text() == other


def test_signs_of_life_go_on_when_a_server_fails_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed, utime = list[int](), os.utime

    def stale(path: Path) -> None:
        if len(failed) < 3:
            failed.append(0)
            raise OSError(116, "Stale file handle")
        utime(path)

    monkeypatch.setattr(os, "utime", stale)
    with FolderLock(tmp_path, heartbeat=0.01):
        before, end = (tmp_path / LOCK_FILE).stat().st_mtime_ns, time.monotonic() + 10
        while (tmp_path / LOCK_FILE).stat().st_mtime_ns == before:
            assert time.monotonic() < end
            time.sleep(0.01)
    assert len(failed) == 3


@pytest.mark.usefixtures("filesystem")
def test_a_holder_confirms_its_lock_and_one_that_was_taken_over_cannot(tmp_path: Path) -> None:
    with FolderLock(tmp_path, heartbeat=0.01) as lock:
        lock.confirm()
        says(tmp_path, host="elsewhere", pid=7)
        with pytest.raises(LockLost, match=r"was taken over by process 7 on elsewhere; process \d+ on ") as refusal:
            lock.confirm()
        assert "This process saved nothing" in refusal.value.fix
        time.sleep(0.1)
        before = (tmp_path / LOCK_FILE).stat().st_mtime_ns
        time.sleep(0.2)
        assert (tmp_path / LOCK_FILE).stat().st_mtime_ns == before, "another's lock must not look alive"
        (tmp_path / LOCK_FILE).unlink()
        with pytest.raises(LockLost, match="by another process, which has ended"):
            lock.confirm()
