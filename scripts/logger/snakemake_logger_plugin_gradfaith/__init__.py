"""Write the jobs of a dry run as JSON lines: Snakemake's documented interface for loggers, instead of its English log.

`gradfaith cost` puts the folder above on the Python path of the `snakemake` process that it starts, and gives
`--logger gradfaith --logger-gradfaith-file FILE`. Nothing else loads this module.
"""

import json
from dataclasses import dataclass, field
from logging import LogRecord
from typing import Optional

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

OF_A_JOB = ("rule_name", "wildcards", "output", "threads")


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Where the lines go."""

    file: Optional[str] = field(  # noqa: UP045 - Snakemake knows no other spelling
        default=None, metadata={"help": "file of JSON lines", "required": True}
    )


class LogHandler(LogHandlerBase):
    """A line per job, and lines with the number of jobs."""

    writes_to_stream = writes_to_file = needs_rulegraph = False
    has_filter = has_formatter = True  # neither is wanted: all jobs are written, whatever `--quiet` says

    def __post_init__(self) -> None:
        self.lines = open(self.settings.file, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - until the process ends

    def emit(self, record: LogRecord) -> None:
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO:
            told = {name: getattr(record, name) for name in OF_A_JOB}
            self._write("job", told | {"resources": dict(record.resources.items())})  # a list with names
        elif event == LogEvent.RUN_INFO:
            self._write("total", record.stats["total"])

    def _write(self, kind: str, told: object) -> None:
        # A resource that only a run finds out is written as text.
        print(json.dumps({kind: told}, default=str), file=self.lines, flush=True)
