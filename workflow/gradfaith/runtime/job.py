"""Surround every job: lock its log, end it when its Snakemake ends, and write its error into the log.

A job keeps its log file open and locked while it runs, so a locked log means a running job. A second job with the
same outputs is refused, and `gradfaith unlock` counts the running jobs. The system releases the lock when the process
ends. Snakemake deletes the log before each attempt, so a failed attempt keeps its own under another name,
`<log>.attempt-<time>-<pid>`. A thread watches the Snakemake process that started the job, and ends the job when that
process is gone, even after kill -9. A training then has a minute to save its state. Every script calls `begin()` before
any slow import, because Snakemake can end during these seconds too.

An error is written to the log only, because Snakemake prints the log of a failed job. An error that a user can fix has
three lines; any other has its traceback. If a retry would fail in the same way, the log's last line is NO_RETRY, and
`runtime/workflow_run.py` reads it in Snakemake's process.
"""

import contextlib
import fcntl
import gc
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
NO_RETRY = "No other attempt is made, because it would fail in the same way."  # the last line of such a log
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PARENT_VARIABLE = "GRADFAITH_PARENT"  # node, pid and start of the Snakemake that parsed the workflow


def prepare_environment(package: Path) -> None:
    """Set the environment of all jobs: `package` on the Python path, threads, CUDA's determinism, Arrow's allocator.

    It also holds the id of this process, so that jobs can end when Snakemake ends.
    """
    inherited = filter(None, (str(package), os.environ.get("PYTHONPATH")))
    os.environ["PYTHONPATH"] = os.pathsep.join(inherited)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # Arrow's default allocator keeps 30 MB more
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # without it CUDA's matrix products are not deterministic
    os.environ[PARENT_VARIABLE] = f"{os.uname().nodename} {os.getpid()} {process_start(os.getpid())}"


def begin() -> None:
    """End this process when the Snakemake that started it is gone; at once if it is gone already.

    Before `running`, Ctrl-C ends the process without a traceback, because there is nothing to clean up yet. Python's
    garbage collector pauses until then: imports make millions of objects that stay, and it would search them many times.
    """
    gc.disable()
    _end_with_parent()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def running(log: str, record: Callable[[], None] | None = None) -> Iterator[None]:
    """Surround a job's work: `with running(job.log[0]): ...` locks the log and prints into it.

    `record` is called when the work has succeeded, to record its time and memory.
    """
    try:
        file = _open_locked_log(Path(log))
    except (JobAlive, CannotWrite) as error:
        sys.exit(str(error))  # to Snakemake's own output: there is no log to write to
    usual, sys.stdout = sys.stdout, file
    attempt_log = _link_attempt_log(Path(log))
    _resume_garbage_collection()
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
    """A signal requested that the job ends."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = signal.Signals(number)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise in the block on a signal to end, so that temporary files are removed; a training catches signals itself."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise _Interrupted(number)

    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    for number, handler in before.items():
        if handler in {signal.SIG_DFL, signal.default_int_handler}:  # not if it is ignored, as under `nohup`
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _resume_garbage_collection() -> None:
    """Collect garbage again after `begin`, but leave out what was imported: it stays to the end of the process."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _end(file: IO[str], words: str, code: int = 1) -> NoReturn:
    """End the process with this last text in its log; on standard error if the log cannot be written."""
    try:
        print(words, file=file, flush=True)
    except OSError:  # a full disk
        print(words, file=sys.stderr, flush=True)  # noqa: T201 - Snakemake shows it
    os._exit(code)


def last_line(log: Path) -> str:
    """Return the last line of a log; "" if it is empty."""
    try:
        return log.read_text(encoding="utf-8", errors="replace").rstrip("\n").rpartition("\n")[2]
    except OSError:
        return ""


def discard_training_state(card: str) -> None:
    """Remove the checkpoints of a finished training; a job that reads the model calls this.

    When such a job runs, Snakemake has accepted the model. The checkpoints are beside the card, which
    belongs to the running study (or to its base, which it trains too). The weights may be another
    study's; files beside them are not touched. A folder that a training has locked stays.
    """
    folder_lock.remove_folder(StudyPaths.training_state(card))


def logs_of_living_jobs(folder: Path) -> list[Path]:
    """List the logs under `folder`, the working directory of Snakemake, that a running job has locked."""
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
        pass  # a filesystem without locks: everything else still works
    file.truncate(0)
    file.write(f"pid {os.getpid()} on {os.uname().nodename}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
    file.flush()
    return file


def _link_attempt_log(log: Path) -> Path:
    """Give this attempt's log a second name (a hard link, if possible), and remove the oldest logs of attempts."""
    name = log.with_name(f"{log.stem}.attempt-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    with contextlib.suppress(OSError):
        for old in sorted(log.parent.glob(f"{glob.escape(log.stem)}.attempt-*"))[: -KEPT_ATTEMPT_LOGS + 1]:
            old.unlink()
        os.link(log, name)
    return name


def _keep_record(record: Callable[[], None] | None) -> None:
    """Record the job's time and memory. An error here does not fail the job, because its outputs are complete."""
    try:
        if record is not None:
            record()
    except Exception as error:  # a full disk, or a study edited during the job
        print(f"the time and memory of this job are not recorded: {type(error).__name__}: {error}")  # noqa: T201 - to the job's log


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
        problem=f"a job of an earlier run is still running ({holder}; its log is {log}).",
        reason="Two jobs that write the same files could mix their outputs.",
        fix="Wait until it ends, or end that process (`kill <pid>`). Then run `make resume`.",
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
    sys.stderr.write(f"the Snakemake that started this job (process {pid}) is gone, so this job ends too\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def _wait_for_parent(parent: psutil.Process) -> None:
    parent.wait()
    os.kill(os.getpid(), signal.SIGTERM)  # ends every job; a training saves its state first
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
