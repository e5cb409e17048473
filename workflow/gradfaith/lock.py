"""One holder of a folder: a file in it names the process by host, number and start, and is locked while that lives.

A process that ends lets go, however it ends. Where the filesystem has no locks, or the file is another machine's, what it
says is asked: a process of this machine lives if one with that number began at that second; one of another machine if it
touches the file, which every holder does every few seconds. A file that nobody holds is taken over. A folder is removed
only when its lock is closed: a network filesystem keeps a file that is open, under another name, and the folder with it.
"""

import contextlib
import fcntl
import json
import os
import shutil
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

from gradfaith.errors import JobAlive

NAME = "lock"
BEAT = 5.0  # seconds between two signs of life
PATIENCE = 30.0  # seconds without one after which a holder on another machine is gone


class Held:
    """`with Held(folder): ...`; a folder that another process holds is refused."""

    def __init__(self, folder: Path, *, beat: float = BEAT, patience: float = PATIENCE) -> None:
        self.path, self._beat, self._patience = folder / NAME, beat, patience
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+", encoding="utf-8")
        try:
            self._take(self._file)
        except BaseException:
            self._file.close()
            raise
        threading.Thread(target=self._show_life, daemon=True, name="lock").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self.path.exists():
            self._file.truncate(0)
        self._file.close()

    def _take(self, file: IO[str]) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._refused(_read(file)) from None
        except OSError:
            pass  # a filesystem without locks: what the file says must do
        holder = _read(file)
        if self._lives(holder):
            raise self._refused(holder)
        file.truncate(0)
        own = psutil.Process()
        json.dump({"host": os.uname().nodename, "pid": own.pid, "start": own.create_time()}, file)
        file.flush()

    def _lives(self, holder: dict[str, object]) -> bool:
        if not holder:
            return False
        if holder["host"] != os.uname().nodename:
            return self._beats()
        try:
            process = psutil.Process(int(str(holder["pid"])))
            began = float(process.create_time())
            return process.pid != os.getpid() and abs(began - float(str(holder["start"]))) < 1
        except psutil.Error:
            return False

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
            with contextlib.suppress(FileNotFoundError):  # the folder is gone when its work is done
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
        with Held(folder):
            for path in folder.iterdir():
                if path.name != NAME:
                    path.unlink()
    except (JobAlive, OSError):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _read(file: IO[str]) -> dict[str, object]:
    """What a holder wrote; nothing, or half of it, is no holder."""
    file.seek(0)
    try:
        found = json.loads(file.read())
    except ValueError:
        return {}
    return found if isinstance(found, dict) and {"host", "pid", "start"} <= set(found) else {}
