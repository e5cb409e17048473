"""What every job does around its work: hold its log, end with its parent, say refusals plainly.

A job keeps its log file open and locked while it lives, so a locked log means a living job: a second job on the same
outputs is refused, and `gradfaith unlock` counts them. The lock goes with the process, however it ends. Snakemake
deletes the log before each attempt: one that fails leaves its own under another name, `<log>.attempt-<time>-<pid>`. A thread
watches the Snakemake process that started the job and ends the job when that is gone, kill -9 included; a training has
a minute to keep its state. It begins when this module is imported, which scripts do before they import anything slow.
"""

import contextlib
import fcntl
import glob
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil

from gradfaith.errors import JobAlive, Refusal
from gradfaith.runtime import folder_lock
from gradfaith.runtime.folder_lock import began
from gradfaith.storage.paths import Layout

ATTEMPTS = 5  # that failed, whose logs are kept
GRACE = 60.0  # seconds between asking a job to end and ending it
PARENT = "GRADFAITH_PARENT"  # node, pid and start of the Snakemake that parsed the workflow


def prepare(package: Path) -> None:
    """What jobs inherit: where the package lies, and threads that sleep while they wait for one another."""
    inherited = filter(None, (str(package), os.environ.get("PYTHONPATH")))
    os.environ["PYTHONPATH"] = os.pathsep.join(inherited)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it CUDA's products are not deterministic
    os.environ[PARENT] = f"{os.uname().nodename} {os.getpid()} {began(os.getpid())}"


@contextmanager
def running(log: str) -> Iterator[None]:
    """The frame of a job: `with running(job.log[0]): ...`. What it prints goes to the log."""
    try:
        file = _hold(Path(log))
    except JobAlive as refusal:
        sys.exit(str(refusal))
    usual, sys.stdout = sys.stdout, file
    own = _second_name(Path(log))
    try:
        yield
        with contextlib.suppress(OSError):
            own.unlink()
    except Refusal as refusal:
        print(refusal, file=sys.stderr)  # noqa: T201 - Snakemake shows what a failed job said last
        print(refusal, file=file)
        file.flush()
        os._exit(1)  # no traceback: the refusal says all
    except BaseException:
        traceback.print_exc(file=file)
        raise
    finally:
        sys.stdout = usual


def accepted(card: str) -> None:
    """A job that starts from a model knows that Snakemake has taken it: the states of its training are not needed any more.

    They lie beside the card, which is always of the study at work (or its base, which it trains too); the weights may be
    another study's, and what lies there is not touched. A folder that a trainer holds stays.
    """
    folder_lock.removed(Layout.progress(card))


def living(folder: Path) -> list[Path]:
    """The logs that a living job holds."""
    logs = [*folder.glob("results/*/logs/**/*.log"), *folder.glob("resources/*/*.log")]
    return [log for log in sorted(logs) if _is_held(log)]


def _hold(log: Path) -> IO[str]:
    log.parent.mkdir(parents=True, exist_ok=True)
    file = log.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _alive(log) from None
    except OSError:
        pass  # a filesystem without locks: nothing to hold, the rest still works
    file.truncate(0)
    file.write(f"pid {os.getpid()} on {os.uname().nodename}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
    file.flush()
    return file


def _second_name(log: Path) -> Path:
    """One more name for the log of this attempt, and the oldest of earlier ones gone; none where a filesystem gives a file only one."""
    name = log.with_name(f"{log.stem}.attempt-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    with contextlib.suppress(OSError):
        for old in sorted(log.parent.glob(f"{glob.escape(log.stem)}.attempt-*"))[: -ATTEMPTS + 1]:
            old.unlink()
        os.link(log, name)
    return name


def _is_held(log: Path) -> bool:
    with log.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False


def _alive(log: Path) -> JobAlive:
    holder = log.read_text(errors="replace").partition("\n")[0] or "pid unknown"
    return JobAlive(
        found=f"a job of an earlier run still works ({holder}; its log is {log}).",
        why="Two jobs on the same files could mix what they write.",
        then="Wait until it ends, or end it; then run `make resume`.",
    )


def _leash() -> None:
    node, pid, start = os.environ.get(PARENT, "  ").split(" ")
    if node != os.uname().nodename or int(pid) == os.getpid():
        return  # not started by Snakemake, or the Snakemake itself
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(int(pid))
        if began(parent.pid) == start:
            threading.Thread(target=_watch, args=(parent,), daemon=True, name="leash").start()
            return
    sys.stderr.write(f"the Snakemake that started this job, process {pid}, is gone, and so is the job\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def _watch(parent: psutil.Process) -> None:
    parent.wait()
    os.kill(os.getpid(), signal.SIGTERM)  # ends every job but a training, which keeps its state first
    time.sleep(GRACE)
    os.kill(os.getpid(), signal.SIGKILL)


_leash()
