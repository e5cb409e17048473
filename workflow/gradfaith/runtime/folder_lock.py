"""Lock a folder for one process: a lock file names its holder, and is locked while the holder lives.

The system releases the lock with its process, however that ends. Where the filesystem has no locks, or the
file is another machine's, the holder that it names is checked: a process of this machine lives if one with
that number started at that moment; one of another machine if it touches the file, which every holder does
every few seconds. A file that no living process holds is taken over. Where there are no locks, two processes
that start at once both write, and the one that is read first there holds the folder.

A holder that is frozen (a suspended machine, a stalled server) does not touch the file, so another machine takes
it over. When the frozen one runs again it must not save: `confirm` raises LockLost there, and its touching ends.

A lock file is removed by its holder, and its folder when it is closed: a network filesystem keeps an open
file under another name, and the folder with it. A process that opened the lock before that finds another file
of its name, or none, and opens it again.

`process_start` says when a process started: with its number, that names a process of this machine for good.
It does not use the wall clock, which may be set: on Linux it counts ticks since the machine started,
elsewhere what the system says.
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

from gradfaith.errors import JobAlive, LockLost

LOCK_FILE = "lock"
HEARTBEAT_SECONDS = 5.0  # between two touches of the lock file by its holder
RACE_SECONDS = 0.5  # after which two processes that start at once have both written, where there are no locks
OPEN_ATTEMPTS = 10  # of a lock that is removed as it is opened
SILENCE_SECONDS = 30.0  # without a touch after which a holder on another machine is gone


class FolderLock:
    """Holds a folder: `with FolderLock(folder): ...`; raises JobAlive if another process holds it.

    `heartbeat`: seconds between two touches of the lock file; `silence`: seconds without a touch after which
    a holder on another machine is gone.
    """

    def __init__(self, folder: Path, *, heartbeat: float = HEARTBEAT_SECONDS, silence: float = SILENCE_SECONDS) -> None:
        self.path, self._heartbeat, self._silence = folder / LOCK_FILE, heartbeat, silence
        self._closed = threading.Event()
        self._me: dict[str, object] = {
            "host": os.uname().nodename,
            "pid": os.getpid(),
            "start": process_start(os.getpid()),
        }

    def __enter__(self) -> Self:
        for _ in range(OPEN_ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):  # the folder was removed as it was entered
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("a+", encoding="utf-8")
                if self._acquire(self._file):
                    break
        else:
            raise self._held_error({})
        threading.Thread(target=self._touch_until_closed, daemon=True, name="lock").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        with self._file, contextlib.suppress(OSError):  # gone with the folder, or with the server
            if _read_holder(self._file) == self._me and _is_at(self.path, self._file):  # not taken over meanwhile
                self._file.truncate(0)

    def confirm(self) -> None:
        """Raise LockLost if another process has taken the folder over; called before everything that is saved there."""
        holder = self._read_current_holder()
        if holder == self._me:
            return
        who = f"process {holder['pid']} on {holder['host']}" if holder else "another process, which has ended"
        raise LockLost(
            problem=f"{self.path.parent} was taken over by {who}; process {self._me['pid']} on {self._me['host']} held it before.",
            reason=f"This process did not run for {self._silence:g} s or more, or the lock was deleted. "
            "Saved now, its files would be mixed with those of the other process.",
            fix="Let the other process finish: it has continued from the last saved state. Nothing was saved here.",
        )

    def _acquire(self, file: IO[str]) -> bool:
        """Hold the file and return True; False where its name is another file's, or none's, by now."""
        try:
            locks = self._lock_file(file)
            if not _is_at(self.path, file):
                file.close()
                return False
            self._write_holder(file, locks=locks)
        except BaseException:
            file.close()
            raise
        return True

    def _lock_file(self, file: IO[str]) -> bool:
        """Lock the file and return whether locks work here; raise JobAlive if another process has it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._held_error(_read_holder(file)) from None
        except OSError:
            return False  # what the file says must do
        return True

    def _write_holder(self, file: IO[str], *, locks: bool) -> None:
        file.seek(0)
        text = file.read()
        holder = _first_holder(text)
        if self._is_alive(holder):
            raise self._held_error(holder)
        if text:
            file.truncate(0)
        json.dump(self._me, file)
        file.flush()
        if not locks:
            time.sleep(RACE_SECONDS)
            if (first := self._read_current_holder()) != self._me:
                raise self._held_error(first)

    def _read_current_holder(self) -> dict[str, object]:
        """Return whom the file of this name names; network filesystems look again only when a file is opened."""
        try:
            return _first_holder(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    def _is_alive(self, holder: dict[str, object]) -> bool:
        if not holder:
            return False
        if holder["host"] != os.uname().nodename:
            return self._is_touched()
        pid = int(str(holder["pid"]))
        return pid != os.getpid() and process_start(pid) == holder["start"]

    def _is_touched(self) -> bool:
        """Watch whether the file is touched; clocks of two machines are not compared."""
        seen, end = self._touch_time(), time.monotonic() + self._silence
        while time.monotonic() < end:
            time.sleep(min(self._heartbeat, self._silence) / 5)
            if self._touch_time() != seen:
                return True
        return False

    def _touch_time(self) -> int:
        with self.path.open("rb") as file:  # network filesystems look again only when a file is opened
            return os.fstat(file.fileno()).st_mtime_ns

    def _touch_until_closed(self) -> None:
        while not self._closed.wait(self._heartbeat):
            with contextlib.suppress(OSError):  # gone when the work is done, or a server that does not answer now
                if self._read_current_holder() != self._me:
                    return  # taken over: another's file must not look alive
                os.utime(self.path)

    def _held_error(self, holder: dict[str, object]) -> JobAlive:
        who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
        return JobAlive(
            problem=f"{self.path.parent} is held by {who}.",
            reason="Two trainings in one folder would continue each other's states.",
            fix="Wait until it ends, or end it; its hold goes with it.",
        )


def remove_folder(folder: Path) -> bool:
    """Remove a folder and its files, unless a process holds it; return whether it is gone."""
    if not folder.is_dir():
        return True
    try:
        with FolderLock(folder) as lock:
            for path in folder.iterdir():
                if path != lock.path:
                    path.unlink()
            lock.path.unlink()
        folder.rmdir()
    except (JobAlive, OSError):  # held, or taken again in this moment, or not ours to remove
        return False
    return True


def _is_at(path: Path, file: IO[str]) -> bool:
    """Return whether this open file still has its name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _read_holder(file: IO[str]) -> dict[str, object]:
    file.seek(0)
    return _first_holder(file.read())


def _first_holder(text: str) -> dict[str, object]:
    """Return what the first holder wrote; nothing, or half of it, is no holder."""
    try:
        found, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and {"host", "pid", "start"} <= set(found) else {}


START_FIELD = 19  # of /proc/<pid>/stat after the name, which may hold spaces: the start


def process_start(pid: int) -> str:
    """Return when a process of this machine started, as text; "" where there is no such process."""
    try:
        if Path("/proc/self/stat").exists():
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[START_FIELD]
        return str(psutil.Process(pid).create_time())
    except (OSError, psutil.Error):
        return ""
