"""Record the time and memory of a finished job in a small JSON file beside its log; `gradfaith cost` reads these files.

    start_up_seconds    from the start of the process to the start of its work: Python, torch, timm
    seconds             from there to the end, without the seconds of waiting for a GPU

Only a job that succeeds writes its record, so a failed attempt keeps the record of the last success. No rule
declares the file: it makes nothing stale, and Snakemake does not delete it with a failed job's outputs. A record
contains the amount of work, so it stays usable when the study's file changes.
"""

import json
import re
import resource
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil
from pydantic import TypeAdapter

from gradfaith.runtime import gpu_slots
from gradfaith.storage import atomic, paths

RECORD_FORMAT = 1


class RunningJob(Protocol):
    """The attributes that a record reads from the object that Snakemake gives to a script."""

    rule: str
    threads: int
    config: dict[str, Any]
    wildcards: Any  # a mapping with `items`
    log: Any  # a list of paths
    output: Iterable[str]


@dataclass(frozen=True)
class JobWork:
    """The amount that a job computes and writes, and the kind of job; dag/job_work.py counts it."""

    units: float  # its seconds are proportional to this
    amount: float  # the bytes of its outputs are proportional to this
    network: str = ""  # the timm name of the job's network
    side: int = 0  # of the images in pixels; 0: independent of pixels
    kind: str = ""  # variant of the rule: a bundle, a battery
    parameters: int = 0  # of the network; 0: none, or not known
    least_seconds: float = 0.0  # of all attempts together, if a later attempt resumes an earlier one


@dataclass(frozen=True)
class JobRecord:
    """Time and memory of one finished job."""

    rule: str
    wildcards: Mapping[str, str]
    seconds: float
    start_up_seconds: float
    waited_seconds: float
    memory_mb: float  # peak memory of the process
    output_bytes: int
    device: str  # cuda, mps, cpu; "": the job uses no network
    threads: int
    work: JobWork
    format: int = RECORD_FORMAT


RECORD = TypeAdapter(JobRecord)


def _process_age() -> float:
    return max(time.time() - float(psutil.Process().create_time()), 0.0)


@dataclass(frozen=True)
class JobRecorder:
    """Measures a job from its construction on; a call ends the measurement and writes the record."""

    job: RunningJob
    work: Callable[[RunningJob], JobWork]
    started: float = field(default_factory=time.monotonic)
    start_up_seconds: float = field(default_factory=_process_age)

    def __call__(self) -> None:
        work, facts = self.work(self.job), gpu_slots.facts
        seconds = time.monotonic() - self.started - facts.waited_seconds
        record = JobRecord(
            rule=self.job.rule,
            wildcards={key: str(value) for key, value in self.job.wildcards.items()},
            seconds=max(seconds, work.least_seconds, 0.0),
            start_up_seconds=self.start_up_seconds,
            waited_seconds=facts.waited_seconds,
            memory_mb=_peak_memory_mb(),
            output_bytes=sum(Path(path).stat().st_size for path in self.job.output),
            device=facts.device,
            threads=self.job.threads,
            work=work,
        )
        path = Path(self.job.log[0]).with_suffix(paths.RECORD_ENDING)
        atomic.write_text(path, json.dumps(asdict(record), indent=1) + "\n")


def read_records(root: Path) -> tuple[list[JobRecord], list[str]]:
    """Read the records of all studies under `root`; the notes list the records that cannot be used."""
    found, unreadable, foreign = list[JobRecord](), list[Path](), list[Path]()
    for path in paths.job_logs(root, paths.RECORD_ENDING):
        try:
            version = json.loads(path.read_bytes())["format"]
            if version == RECORD_FORMAT:
                found.append(RECORD.validate_json(path.read_bytes()))
            else:
                foreign.append(path)
        except (OSError, ValueError, KeyError, TypeError):  # a ValidationError is a ValueError
            unreadable.append(path)
    return found, [
        *_note_unused(unreadable, root, "it cannot be read"),
        *_note_unused(foreign, root, f"this version of GradFaith reads format {RECORD_FORMAT}"),
    ]


def _note_unused(files: Sequence[Path], root: Path, why: str) -> list[str]:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return [f"{files[0].relative_to(root)}{more} not used: {why}"] if files else []


def _peak_memory_mb() -> float:
    """Return the peak memory of this program. getrusage would include the memory of the Snakemake that started it."""
    status = Path("/proc/self/status")
    if status.is_file() and (peak := re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.M)):
        return int(peak[1]) / 1e3
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, which has no /proc
    return peak_bytes / 1e6
