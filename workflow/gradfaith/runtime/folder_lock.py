"""One holder of a folder: a file in it names the process by host, number and start, and is locked while that lives.

A process that ends lets go, however it ends. Where the filesystem has no locks, or the file is another machine's, what it
says is asked: a process of this machine lives if one with that number began at that moment; one of another machine if it
touches the file, which every holder does every few seconds. A file that nobody holds is taken over. Two that begin at once
where there are no locks both write, and the first to be read there holds it.

A lock is removed by who holds it, and its folder when it is closed: a network filesystem keeps a file that is open, under
another name, and the folder with it. Who opened the lock before that finds another file of its name, or none, and opens anew.

When a process began, in a word: with its number, it names a process of this machine for good.

Not by the wall clock, which is set now and then: on Linux in ticks since the machine started, elsewhere as the system says it.
"""

import contextlib
import fcntl
import json
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

from gradfaith.errors import JobAlive

NAME = "lock"
BEAT = 5.0  # seconds between two signs of life
SETTLE = 0.5  # seconds after which two that began at once have both written, where there are no locks
TRIES = 10  # at a lock that is removed as it is opened
PATIENCE = 30.0  # seconds without one after which a holder on another machine is gone


class Held:
    """`with Held(folder): ...`; a folder that another process holds is refused."""

    def __init__(self, folder: Path, *, beat: float = BEAT, patience: float = PATIENCE) -> None:
        self.path, self._beat, self._patience = folder / NAME, beat, patience
        self._over = threading.Event()

    def __enter__(self) -> Self:
        for _ in range(TRIES):
            with contextlib.suppress(FileNotFoundError):  # the folder was removed as it was entered
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("a+", encoding="utf-8")
                if self._taken(self._file):
                    break
        else:
            raise self._refused({})
        threading.Thread(target=self._show_life, daemon=True, name="lock").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        with self._file, contextlib.suppress(OSError):  # gone with the folder, or with the server
            mine = _read(self._file).get("pid") == os.getpid()  # not taken over meanwhile
            if mine and _is_at(self.path, self._file):
                self._file.truncate(0)

    def _taken(self, file: IO[str]) -> bool:
        """Whether the file is held now, and open; false where its name is another's, or nobody's, by now."""
        try:
            locks = self._locked(file)
            if not _is_at(self.path, file):
                file.close()
                return False
            self._write(file, locks=locks)
        except BaseException:
            file.close()
            raise
        return True

    def _locked(self, file: IO[str]) -> bool:
        """Whether there are locks here; one that another process has is refused."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._refused(_read(file)) from None
        except OSError:
            return False  # what the file says must do
        return True

    def _write(self, file: IO[str], *, locks: bool) -> None:
        file.seek(0)
        text = file.read()
        holder = _first(text)
        if self._lives(holder):
            raise self._refused(holder)
        if text:
            file.truncate(0)
        own = {"host": os.uname().nodename, "pid": os.getpid(), "start": began(os.getpid())}
        json.dump(own, file)
        file.flush()
        if not locks:
            time.sleep(SETTLE)
            if (first := _first(self.path.read_text(encoding="utf-8"))) != own:
                raise self._refused(first)

    def _lives(self, holder: dict[str, object]) -> bool:
        if not holder:
            return False
        if holder["host"] != os.uname().nodename:
            return self._beats()
        pid = int(str(holder["pid"]))
        return pid != os.getpid() and began(pid) == holder["start"]

    def _beats(self) -> bool:
        """Whether the file is touched while we look; clocks of two machines are not compared."""
        seen, end = self._touched(), time.monotonic() + self._patience
        while time.monotonic() < end:
            time.sleep(min(self._beat, self._patience) / 5)
            if self._touched() != seen:
                return True
        return False

    def _touched(self) -> int:
        with self.path.open("rb") as file:  # network filesystems look again only when a file is opened
            return os.fstat(file.fileno()).st_mtime_ns

    def _show_life(self) -> None:
        while not self._over.wait(self._beat):
            with contextlib.suppress(OSError):  # gone when the work is done, or a server that does not answer now
                os.utime(self.path)

    def _refused(self, holder: dict[str, object]) -> JobAlive:
        who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
        return JobAlive(
            found=f"{self.path.parent} is held by {who}.",
            why="Two trainings in one folder would continue each other's states.",
            then="Wait until it ends, or end it; its hold goes with it.",
        )


def removed(folder: Path) -> bool:
    """Take a folder away that nobody needs any more, unless a process holds it; whether it is gone. What cannot be removed stays."""
    if not folder.is_dir():
        return True
    try:
        with Held(folder) as held:
            for path in folder.iterdir():
                if path != held.path:
                    path.unlink()
            held.path.unlink()
        folder.rmdir()
    except (JobAlive, OSError):  # held, or taken again in this moment, or not ours to remove
        return False
    return True


def _is_at(path: Path, file: IO[str]) -> bool:
    """Whether this open file still has its name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _read(file: IO[str]) -> dict[str, object]:
    file.seek(0)
    return _first(file.read())


def _first(text: str) -> dict[str, object]:
    """What the first holder wrote; nothing, or half of it, is no holder."""
    try:
        found, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and {"host", "pid", "start"} <= set(found) else {}


FIELD = 19  # of /proc/<pid>/stat after the name, which may hold spaces: the start


def began(pid: int) -> str:
    """Empty, where there is no such process."""
    try:
        if Path("/proc/self/stat").exists():
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[FIELD]
        return str(psutil.Process(pid).create_time())
    except (OSError, psutil.Error):
        return ""
