"""Lock a folder for one process: a lock file names its holder, and stays locked while the holder lives.

The system releases the lock when the process ends, even after kill -9. Some filesystems have no locks, and a lock
file may belong to another machine. Then the process that the file names is checked. A process of this machine is
alive if one with that number and start time exists. A process of another machine is alive if it touches the file,
which every holder does every few seconds. A file without a living holder is taken over. Without locks, two processes
that start at once both write, and the first line in the file decides.

A suspended holder (a suspended machine, a stalled server) does not touch the file, so another machine takes it
over. When the suspended process resumes it must not save: `confirm` raises LockLost, and the process stops touching.

The holder removes the lock file, and closes it before it removes the folder: a network filesystem keeps an open
file under another name, and the folder with it. A process that opened the lock before that finds another file
under its name, or none, and opens it again.

`process_start` returns when a process started. Together with its number, that identifies a process of this machine.
It does not use the wall clock, which may be set: on Linux it counts ticks since the machine started, elsewhere it
uses the time that the system reports.
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
RACE_SECONDS = 0.5  # after this time two processes that start at once have both written (without locks)
OPEN_ATTEMPTS = 10  # at a lock that is removed while it is opened
SILENCE_SECONDS = 30.0  # without a touch, after which an holder on another machine counts as ended


class FolderLock:
    """Locks a folder: `with FolderLock(folder): ...`; raises JobAlive if another process has locked it.

    `heartbeat`: seconds between two touches of the lock file. `silence`: seconds without a touch, after which
    a holder on another machine counts as ended.
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
            with contextlib.suppress(FileNotFoundError):  # another process removed the folder in this moment
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
        with self._file, contextlib.suppress(OSError):  # the folder is removed, or the server does not answer
            if _read_holder(self._file) == self._me and _is_at(self.path, self._file):  # not taken over meanwhile
                self._file.truncate(0)

    def confirm(self) -> None:
        """Raise LockLost if another process has taken the folder over; called before every save in the folder."""
        holder = self._read_current_holder()
        if holder == self._me:
            return
        who = f"process {holder['pid']} on {holder['host']}" if holder else "another process, which has ended"
        raise LockLost(
            problem=f"{self.path.parent} was taken over by {who}; process {self._me['pid']} on {self._me['host']} held it before.",
            reason=f"This process did not run for {self._silence:g} s or more, or the lock was deleted. "
            "If it saved now, its files would be mixed with those of the other process.",
            fix="Let the other process finish: it has resumed from the last checkpoint. This process saved nothing.",
        )

    def _acquire(self, file: IO[str]) -> bool:
        """Lock the file and return True; False if its name now belongs to another file, or to none."""
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
        """Lock the file. Return whether locks work here; raise JobAlive if another process has locked it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._held_error(_read_holder(file)) from None
        except OSError:
            return False  # without locks, the text of the file decides
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
        """Return the holder that the file names. It is opened again, because network filesystems update it only then."""
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
        """Wait, and return whether the file is touched. Clocks of two machines are not compared."""
        seen, end = self._touch_time(), time.monotonic() + self._silence
        while time.monotonic() < end:
            time.sleep(min(self._heartbeat, self._silence) / 5)
            if self._touch_time() != seen:
                return True
        return False

    def _touch_time(self) -> int:
        with self.path.open("rb") as file:  # network filesystems update a file only when it is opened
            return os.fstat(file.fileno()).st_mtime_ns

    def _touch_until_closed(self) -> None:
        while not self._closed.wait(self._heartbeat):
            with contextlib.suppress(OSError):  # the folder is removed at the end, or the server does not answer
                if self._read_current_holder() != self._me:
                    return  # taken over: do not touch the file of another process
                os.utime(self.path)

    def _held_error(self, holder: dict[str, object]) -> JobAlive:
        who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
        return JobAlive(
            problem=f"{self.path.parent} is held by {who}.",
            reason="Two trainings in one folder would resume from each other's checkpoints.",
            fix="Wait until that process ends, or end it (`kill <pid>`). The lock is then released.",
        )


def remove_folder(folder: Path) -> bool:
    """Remove a folder and its files, unless a process holds it; return whether it was removed."""
    if not folder.is_dir():
        return True
    try:
        with FolderLock(folder) as lock:
            for path in folder.iterdir():
                if path != lock.path:
                    path.unlink()
            lock.path.unlink()
        folder.rmdir()
    except (JobAlive, OSError):  # locked, or locked again in this moment, or no permission
        return False
    return True


def _is_at(path: Path, file: IO[str]) -> bool:
    """Return whether the path still leads to this open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _read_holder(file: IO[str]) -> dict[str, object]:
    file.seek(0)
    return _first_holder(file.read())


def _first_holder(text: str) -> dict[str, object]:
    """Return what the first holder wrote; an empty or incomplete text names no holder."""
    try:
        found, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and {"host", "pid", "start"} <= set(found) else {}


START_FIELD = 19  # of /proc/<pid>/stat, counted after the name, which may contain spaces: the start time


def process_start(pid: int) -> str:
    """Return when a process of this machine started, as text; "" if there is no such process."""
    try:
        if Path("/proc/self/stat").exists():
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[START_FIELD]
        return str(psutil.Process(pid).create_time())
    except (OSError, psutil.Error):
        return ""
