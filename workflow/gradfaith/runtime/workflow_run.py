"""Surround a run in Snakemake's own process: print errors once, decide about retries, and end jobs on a signal.

For a failed job, Snakemake prints an exception of its own with lines of its traceback, then the job's log. This module
leaves only the log, which contains the job's error. An error that a user can fix is printed without Snakemake's text
around it. If an earlier run left its lock, the message names the command that also looks for running jobs.

Snakemake counts attempts but not reasons. If a job's log ends with `job.NO_RETRY`, this module ends its retries.

On SIGTERM, Snakemake would wait for jobs that take hours; on a SIGINT that reaches only Snakemake, too. Here both signals
end the jobs, and Snakemake ends as after Ctrl-C: on a cluster it cancels its submitted jobs. A second signal kills the jobs.

Snakemake is not imported: it prints through `logging`, and the Snakefile passes its workflow object.
"""

import contextlib
import logging
import math
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
CTRL_C_SECONDS = 3.0  # between Ctrl-C, which jobs receive too, and SIGTERM to them
POLL_SECONDS = 0.2  # seconds between two checks for running jobs
REPEAT_SECONDS = 10.0  # until a job that has not ended gets SIGTERM again, in case the first was lost


class WorkflowRun(logging.Filter):
    """Filters Snakemake's messages, and ends its jobs on a signal.

    `workflow` is Snakemake's object of this name. In the Snakefile: `workflow_run = WorkflowRun(workflow)`, and below
    `onstart:` a call of `end_jobs_on_signals`.
    """

    def __init__(self, workflow: Any) -> None:
        super().__init__()
        self._workflow, self._ending = workflow, False
        self._start_no_more: Callable[[], object] = lambda: None
        logging.getLogger(SNAKEMAKE_LOGGER).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether Snakemake prints a record; replace its text if it wraps a GradFaithError."""
        try:
            return self._judge(record)
        except Exception as error:  # another version of Snakemake: print its own text
            record.msg = f"{record.msg}\n(workflow_run.py could not filter this message: {error!r})"
            return True

    def _judge(self, record: logging.LogRecord) -> bool:
        event = str(getattr(record, "event", ""))
        if event in {"job_error", "group_error"}:
            if event == "job_error":
                self._end_retries(vars(record)["jobid"])
            _drop_repeated_logs(record, event)
            return not self._ending  # jobs that the signal ended did not fail
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
        """Catch SIGTERM and SIGINT from now on, unless they are ignored; Snakemake calls this before its first job."""
        snakemakes_own = signal.getsignal(signal.SIGTERM)  # it makes Snakemake start no further job
        if callable(snakemakes_own):
            self._start_no_more = lambda: snakemakes_own(signal.SIGTERM, None)
        for number in ENDING_SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._receive)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        """End the run; a second signal kills the jobs. Another thread prints, because this one may hold the print lock."""
        if self._ending:
            _send(signal.SIGKILL, _job_processes())
            return
        self._ending = True
        threading.Thread(target=self._end, args=(signal.Signals(number),), daemon=True, name="end").start()
        raise KeyboardInterrupt

    def _end(self, number: signal.Signals) -> None:
        self._start_no_more()  # Snakemake's printer swallows a KeyboardInterrupt raised in it
        logging.getLogger(SNAKEMAKE_LOGGER).warning(
            f"{number.name}: the run and its jobs are ending. Finished results stay; the next run resumes from there."
        )
        time.sleep(CTRL_C_SECONDS if number == signal.SIGINT else 0.0)
        _end_jobs()

    def _end_retries(self, failed: object) -> None:
        """Set a failed job, or its group, to its last attempt if the log states that a retry would fail too."""
        for job in list(self._workflow.scheduler.running):
            parts = [part for part in getattr(job, "jobs", [job]) if part.jobid == failed]
            if any(last_line(Path(log)) == NO_RETRY for part in parts for log in part.log):
                job.attempt = max(job.attempt, job.restart_times + 1)


def _drop_repeated_logs(record: logging.LogRecord, event: str) -> None:
    """Remove from a record the logs that would repeat an error.

    The error of a group names every log, and the errors of its jobs follow. The log of a cluster job
    contains messages of two more Snakemake processes, and nothing new if the job's own log has the error.
    """
    parts = vars(record)
    if event == "group_error":
        parts["job_error_info"] = [info | {"log": []} for info in parts["job_error_info"]]
    elif parts["log"] and last_line(Path(parts["log"][0])) == NO_RETRY:
        parts["log"] = parts["log"][:1]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the chain of its causes."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _locked(workflow: Any) -> StillLocked:
    here, named = Path.cwd(), [Path(file) for file in workflow.overwrite_configfiles[:1]]
    study = [f"STUDY={file.relative_to(here) if file.is_relative_to(here) else file}" for file in named]
    return StillLocked(
        problem=f"an earlier run in {here} is still running, or was killed and left its lock.",
        reason="Two runs that write the same files would mix their outputs.",
        fix=f"Call `{' '.join(['make resume', *study])}`. If a process of that run is still alive, it lists the process and stops. "
        "If none is, it removes the lock and resumes the run. `gradfaith unlock` does the same without resuming.",
    )


def _job_processes() -> list[psutil.Process]:
    """Return the script processes that this Snakemake runs, without their shells."""
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
    """Send SIGTERM to every job, also to jobs that are just starting, again after REPEAT_SECONDS; SIGKILL after GRACE_SECONDS."""
    asked, end = dict[psutil.Process, float](), time.monotonic() + GRACE_SECONDS
    while time.monotonic() < end:
        now = time.monotonic()
        due = [process for process in _job_processes() if now - asked.get(process, -math.inf) >= REPEAT_SECONDS]
        _send(signal.SIGTERM, due)
        asked |= dict.fromkeys(due, now)
        time.sleep(POLL_SECONDS)
    _send(signal.SIGKILL, _job_processes())
