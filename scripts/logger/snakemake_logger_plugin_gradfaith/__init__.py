"""Write the jobs of a Snakemake run as JSON lines: Snakemake's documented interface for loggers, instead of its English log.

GradFaith's `snakemake_process` puts the folder above on the Python path of the `snakemake` process that it starts, and gives
`--logger gradfaith --logger-gradfaith-file FILE`. Nothing else loads this module.

    {"total": 64, "rules": {"train": 6, ...}}    jobs of the run, before its first job
    {"job": {"jobid": 3, "rule_name": ...}}      a job starts; in a dry run: it would start
    {"finished": 3}   {"failed": 3}              a job has ended
    {"text": "..."}                              a warning or an error, as Snakemake would print it

With `--logger-gradfaith-parent PID` the lines are for a process that shows them (`gradfaith run`): Snakemake then prints
nothing by itself, `text` is written too, and the run ends when that process is gone.
"""

import contextlib
import json
import logging
import os
import signal
import threading
from dataclasses import dataclass, field
from typing import Optional

import psutil
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

FIELDS_OF_A_JOB = ("jobid", "rule_name", "wildcards", "output", "log", "threads")
ERRORS = (LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR)


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Where the lines go, and for whom they are."""

    file: Optional[str] = field(  # noqa: UP045 - Snakemake knows no other spelling
        default=None, metadata={"help": "file of JSON lines", "required": True}
    )
    parent: Optional[int] = field(  # noqa: UP045
        default=None,
        metadata={"help": "process that shows the lines; the run ends with it", "required": False, "type": int},
    )


class LogHandler(LogHandlerBase):
    """Writes a line per event."""

    writes_to_file = needs_rulegraph = False
    has_filter = True  # all jobs are written, whatever `--quiet` says

    def __post_init__(self) -> None:
        self.lines = open(self.settings.file, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - until the process ends
        if self.settings.parent:
            threading.Thread(target=_end_with, args=(self.settings.parent,), daemon=True).start()

    @property
    def writes_to_stream(self) -> bool:
        return bool(self.settings.parent)

    @property
    def has_formatter(self) -> bool:
        return not self.settings.parent  # texts are formatted as Snakemake formats them

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO:
            job = {name: getattr(record, name) for name in FIELDS_OF_A_JOB}
            self._write(job=job | {"resources": dict(record.resources.items())})  # a list with names
        elif event == LogEvent.RUN_INFO:
            rules = {rule: count for rule, count in record.stats.items() if rule != "total"}
            self._write(total=record.stats["total"], rules=rules)
        elif event == LogEvent.JOB_FINISHED:
            self._write(finished=record.job_id)
        elif self.settings.parent and (event in ERRORS or record.levelno >= logging.WARNING):
            if event == LogEvent.JOB_ERROR:
                self._write(failed=record.jobid)
            self._write(text=self.format(record))

    def _write(self, **line: object) -> None:
        # A resource that is known only during a run is written as text.
        print(json.dumps(line, default=str), file=self.lines, flush=True)


def _end_with(parent: int) -> None:
    """Ask this process to end, as SIGTERM does, when its parent is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(parent).wait()
    os.kill(os.getpid(), signal.SIGTERM)
