"""Surround a run, in Snakemake's own process: what it prints of errors, when it retries, how it ends.

Of a job that fails Snakemake prints an exception of its own with lines of its traceback, then the job's log. Here only the
log is left, in which the job has written its error. An error that a user can fix is printed without what Snakemake puts
around it, wherever it was raised. A lock of an earlier run is answered with the command that also looks for living jobs.

Snakemake counts attempts and not reasons. A job whose log ends with `job.NO_RETRY` has none left here.

SIGTERM would let Snakemake wait for jobs of hours, and so would a SIGINT that reaches Snakemake alone. Here both end the jobs,
and Snakemake as at Ctrl-C: on a cluster it cancels what it submitted. A second signal kills the jobs.

Snakemake is not imported: it prints through `logging`, and hands its workflow over in the Snakefile.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from gradfaith.errors import GradFaithError, StillLocked
from gradfaith.runtime.job import GRACE_SECONDS, NO_RETRY, last_line

SNAKEMAKE_LOGGER = "snakemake.logging"
SCRIPT_FOLDER = ".snakemake/scripts/"  # in the command line of every job
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)
CTRL_C_SECONDS = 3.0  # seconds that jobs have after Ctrl-C, which reaches them by itself, until they receive SIGTERM
POLL_SECONDS = 0.2  # seconds between two looks for jobs that still live


class WorkflowRun(logging.Filter):
    """Filters what Snakemake prints, and ends its jobs when it is asked to end.

    `workflow` is Snakemake's object of this name. In the Snakefile: `workflow_run = WorkflowRun(workflow)`, and below
    `onstart:` a call of `end_jobs_on_signals`.
    """

    def __init__(self, workflow: Any) -> None:
        super().__init__()
        self._workflow, self._ending = workflow, False
        self._start_no_more: Callable[[], object] = lambda: None
        logging.getLogger(SNAKEMAKE_LOGGER).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether Snakemake prints a record; change its text where an error was wrapped."""
        try:
            return self._judge(record)
        except Exception as error:  # another version of Snakemake: better its own words than none
            record.msg = f"{record.msg}\n(workflow_run.py does not know this record: {error!r})"
            return True

    def _judge(self, record: logging.LogRecord) -> bool:
        event = str(getattr(record, "event", ""))
        if event in {"job_error", "group_error"}:
            if event == "job_error":
                self._end_retries(vars(record)["jobid"])
            _drop_repeated_logs(record, event)
            return not self._ending  # jobs that were told to end did not fail
        error = sys.exc_info()[1]
        if error is None or record.levelno < logging.ERROR:
            return True
        causes = list(_causes(error))
        known = next((cause for cause in causes if isinstance(cause, GradFaithError)), None)
        if type(error).__name__ == "LockException":
            known = _locked(self._workflow)
        if known is not None:
            record.msg, record.args = str(known), ()
        of_script = any(isinstance(cause, subprocess.CalledProcessError) for cause in causes)
        return known is not None or not (type(error).__name__ == "RuleException" and of_script)

    def end_jobs_on_signals(self) -> None:
        """Catch SIGTERM and SIGINT from here on, unless they are ignored; Snakemake calls this before its first job."""
        snakemakes_own = signal.getsignal(signal.SIGTERM)  # after it Snakemake starts no further job
        if callable(snakemakes_own):
            self._start_no_more = lambda: snakemakes_own(signal.SIGTERM, None)
        for number in ENDING_SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._receive)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        """End the run; a second signal kills the jobs. Another thread prints: this one may hold the printer's lock."""
        if self._ending:
            _send(signal.SIGKILL, _job_processes())
            return
        self._ending = True
        threading.Thread(target=self._end, args=(signal.Signals(number),), daemon=True, name="end").start()
        raise KeyboardInterrupt

    def _end(self, number: signal.Signals) -> None:
        self._start_no_more()  # Snakemake's printer swallows a KeyboardInterrupt that meets it
        logging.getLogger(SNAKEMAKE_LOGGER).warning(
            f"{number.name}: the run ends, and its jobs are asked to end. What is finished stays; the next run continues from there."
        )
        time.sleep(CTRL_C_SECONDS if number == signal.SIGINT else 0.0)
        _end_jobs()

    def _end_retries(self, failed: object) -> None:
        """Let Snakemake count the last attempt of a job, or of its group, if its log says that no other is worth making."""
        for job in list(self._workflow.scheduler.running):
            parts = [part for part in getattr(job, "jobs", [job]) if part.jobid == failed]
            if any(last_line(Path(log)) == NO_RETRY for part in parts for log in part.log):
                job.attempt = max(job.attempt, job.restart_times + 1)


def _drop_repeated_logs(record: logging.LogRecord, event: str) -> None:
    """Leave out of a record the logs that say an error again.

    The error of a group names every log, and the error of each of its jobs follows. The log of a cluster's job
    holds the words of two more Snakemakes, and nothing new where the job itself has said why it failed.
    """
    parts = vars(record)
    if event == "group_error":
        parts["job_error_info"] = [info | {"log": []} for info in parts["job_error_info"]]
    elif parts["log"] and last_line(Path(parts["log"][0])) == NO_RETRY:
        parts["log"] = parts["log"][:1]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what it was raised from, and so on."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _locked(workflow: Any) -> StillLocked:
    here, named = Path.cwd(), [Path(file) for file in workflow.overwrite_configfiles[:1]]
    study = [f"STUDY={file.relative_to(here) if file.is_relative_to(here) else file}" for file in named]
    return StillLocked(
        problem=f"an earlier run in {here} still works, or was killed and has left its lock.",
        reason="Two runs that write the same files would mix them.",
        fix=f"`{' '.join(['make resume', *study])}` continues if no process of that run lives, else it names them. "
        "`gradfaith unlock` looks in the same way and starts nothing.",
    )


def _job_processes() -> list[psutil.Process]:
    """Return the scripts that this Snakemake runs, without the shells around them."""
    found = []
    for process in psutil.Process(os.getpid()).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if any(SCRIPT_FOLDER in word for word in words) and "python" in Path(words[0]).name:
                found.append(process)
    return found


def _send(number: signal.Signals, processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _end_jobs() -> None:
    """Send SIGTERM to every job once, those too that were about to start; SIGKILL what lives after GRACE_SECONDS."""
    told, end = set[psutil.Process](), time.monotonic() + GRACE_SECONDS
    while time.monotonic() < end:
        new = [process for process in _job_processes() if process not in told]
        _send(signal.SIGTERM, new)
        told.update(new)
        time.sleep(POLL_SECONDS)
    _send(signal.SIGKILL, _job_processes())
