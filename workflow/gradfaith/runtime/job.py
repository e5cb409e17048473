"""Surround every job: lock its log, end it when its Snakemake ends, and write its error into the log.

A job keeps its log file open and locked while it lives, so a locked log means a living job: a second job on
the same outputs is refused, and `gradfaith unlock` counts them. The system releases the lock with the
process, however it ends. Snakemake deletes the log before each attempt, so a failed attempt keeps its own
under another name, `<log>.attempt-<time>-<pid>`. A thread watches the Snakemake process that started the job
and ends the job when that is gone, kill -9 included; a training has a minute to save its state. Every script
calls `begin()` before it imports anything slow: imports take seconds, in which a Snakemake can end too.

An error is written to the log and nowhere else, because Snakemake shows the log of a job that failed: once, as
three lines for an error that a user can fix, with its traceback for any other. Where another attempt would end in
the same way, the log's last line is NO_RETRY; `runtime/workflow_run.py` reads it in Snakemake's process.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

import psutil

from gradfaith.errors import CannotWrite, GradFaithError, JobAlive
from gradfaith.runtime import folder_lock
from gradfaith.runtime.folder_lock import process_start
from gradfaith.storage.atomic import check_writable
from gradfaith.storage.paths import StudyPaths, job_logs

KEPT_ATTEMPT_LOGS = 5  # failed attempts whose logs are kept
GRACE_SECONDS = 60.0  # seconds between SIGTERM and SIGKILL
NO_RETRY = "No other attempt is made: it would end in the same way."  # the last line of such a log
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PARENT_VARIABLE = "GRADFAITH_PARENT"  # node, pid and start of the Snakemake that parsed the workflow


def prepare_environment(package: Path) -> None:
    """Set what jobs inherit from Snakemake's process: `package` on the Python path, threads, CUDA's determinism.

    The process is also named to its jobs as their parent, so that they can end with it.
    """
    inherited = filter(None, (str(package), os.environ.get("PYTHONPATH")))
    os.environ["PYTHONPATH"] = os.pathsep.join(inherited)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it CUDA's products are not deterministic
    os.environ[PARENT_VARIABLE] = f"{os.uname().nodename} {os.getpid()} {process_start(os.getpid())}"


def begin() -> None:
    """Tie this process to the Snakemake that started it; end it at once if that is gone.

    Until `running`, Ctrl-C ends the process without a traceback, as there is nothing to clean up yet.
    """
    _end_with_parent()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def running(log: str, record: Callable[[], None] | None = None) -> Iterator[None]:
    """Surround a job's work: `with running(job.log[0]): ...` locks the log and prints into it.

    `record` is called when the work has succeeded, to record what it took.
    """
    try:
        file = _open_locked_log(Path(log))
    except (JobAlive, CannotWrite) as error:
        sys.exit(str(error))  # to Snakemake's own output: there is no log to write to
    usual, sys.stdout = sys.stdout, file
    attempt_log = _link_attempt_log(Path(log))
    try:
        with _interruptible():
            yield
            _keep_record(record)
        with contextlib.suppress(OSError):
            attempt_log.unlink()
    except GradFaithError as error:
        _end(file, str(error) if error.retry else f"{error}\n{NO_RETRY}")
    except _Interrupted as error:
        _end(file, f"interrupted by {error.signal.name}", 128 + error.signal)  # the exit code that a shell would give
    except BaseException:
        _end(file, traceback.format_exc().rstrip("\n"))
    finally:
        sys.stdout = usual


class _Interrupted(KeyboardInterrupt):
    """A signal asked the job to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = signal.Signals(number)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise in the block when a signal asks to end, so that drafts are removed; a training catches signals itself."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise _Interrupted(number)

    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    for number, handler in before.items():
        if handler in {signal.SIG_DFL, signal.default_int_handler}:  # not where `nohup` and the like ignore it
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(file: IO[str], words: str, code: int = 1) -> NoReturn:
    """End the process with these last words in its log; on standard error where the log cannot take them."""
    try:
        print(words, file=file, flush=True)
    except OSError:  # a full disk
        print(words, file=sys.stderr, flush=True)  # noqa: T201 - Snakemake shows it
    os._exit(code)


def last_line(log: Path) -> str:
    """Return the last line of a log; "" where it has none."""
    try:
        return log.read_text(encoding="utf-8", errors="replace").rstrip("\n").rpartition("\n")[2]
    except OSError:
        return ""


def discard_training_state(card: str) -> None:
    """Remove the checkpoints of a finished training; a job that reads the model calls this.

    That such a job runs means that Snakemake has accepted the model. The checkpoints lie beside the card,
    which is always of the study at work (or its base, which it trains too); the weights may be another
    study's, and what lies beside them is not touched. A folder that a training holds stays.
    """
    folder_lock.remove_folder(StudyPaths.training_state(card))


def logs_of_living_jobs(folder: Path) -> list[Path]:
    """List the logs under `folder`, the working directory of Snakemake, that a living job holds."""
    return [log for log in job_logs(folder) if _is_held(log)]


def _open_locked_log(log: Path) -> IO[str]:
    check_writable([log.parent])
    log.parent.mkdir(parents=True, exist_ok=True)
    file = log.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _job_alive(log) from None
    except OSError:
        pass  # a filesystem without locks: nothing to hold, the rest still works
    file.truncate(0)
    file.write(f"pid {os.getpid()} on {os.uname().nodename}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
    file.flush()
    return file


def _link_attempt_log(log: Path) -> Path:
    """Give this attempt's log a second name, where there are links, and remove the oldest of earlier attempts."""
    name = log.with_name(f"{log.stem}.attempt-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    with contextlib.suppress(OSError):
        for old in sorted(log.parent.glob(f"{glob.escape(log.stem)}.attempt-*"))[: -KEPT_ATTEMPT_LOGS + 1]:
            old.unlink()
        os.link(log, name)
    return name


def _keep_record(record: Callable[[], None] | None) -> None:
    """Record what the job took; a job whose outputs are complete does not fail because this fails."""
    try:
        if record is not None:
            record()
    except Exception as error:  # a full disk, a study that was edited meanwhile
        print(f"what this job took is not recorded: {type(error).__name__}: {error}")  # noqa: T201 - to the job's log


def _is_held(log: Path) -> bool:
    with log.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False


def _job_alive(log: Path) -> JobAlive:
    holder = log.read_text(errors="replace").partition("\n")[0] or "pid unknown"
    return JobAlive(
        problem=f"a job of an earlier run still works ({holder}; its log is {log}).",
        reason="Two jobs on the same files could mix what they write.",
        fix="Wait until it ends, or end it; then run `make resume`.",
    )


def _end_with_parent() -> None:
    node, pid, start = os.environ.get(PARENT_VARIABLE, "  ").split(" ")
    if node != os.uname().nodename or int(pid) == os.getpid():
        return  # not started by Snakemake, or the Snakemake itself
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(int(pid))
        if process_start(parent.pid) == start:
            threading.Thread(target=_wait_for_parent, args=(parent,), daemon=True, name="leash").start()
            return
    sys.stderr.write(f"the Snakemake that started this job, process {pid}, is gone, and so is the job\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def _wait_for_parent(parent: psutil.Process) -> None:
    parent.wait()
    os.kill(os.getpid(), signal.SIGTERM)  # ends every job but a training, which keeps its state first
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
