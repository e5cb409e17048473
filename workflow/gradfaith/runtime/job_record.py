"""Record what a finished job took: one small JSON file beside its log, and the reader of these files for `gradfaith cost`.

    start_up_seconds    from the start of the process to the start of its work: Python, torch, timm
    seconds             from there to the end, without the seconds of waiting for a GPU

Only a job that succeeds writes its record, so a failed attempt keeps the record of the last success. No rule
declares the file: it makes nothing stale, and Snakemake does not delete it with a failed job's outputs. A record states its own
work, so it can be used whatever the study's file says later.
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
    """What a record needs of the object that Snakemake hands to a script."""

    rule: str
    threads: int
    config: dict[str, Any]
    wildcards: Any  # a mapping with `items`
    log: Any  # a list of paths
    output: Iterable[str]


@dataclass(frozen=True)
class JobWork:
    """How much a job computes and writes, and what it is similar to; dag/job_work.py counts it."""

    units: float  # its seconds are proportional to this
    amount: float  # the bytes of its outputs are proportional to this
    network: str = ""  # the timm name of the network that computes
    side: int = 0  # of the images in pixels; 0: pixels do not count
    kind: str = ""  # variant of the rule: a bundle, a battery
    least_seconds: float = 0.0  # of all attempts together, where a later attempt resumes an earlier one


@dataclass(frozen=True)
class JobRecord:
    """What one finished job took."""

    rule: str
    wildcards: Mapping[str, str]
    seconds: float
    start_up_seconds: float
    waited_seconds: float
    memory_mb: float  # the most that the process held
    output_bytes: int
    device: str  # cuda, mps, cpu; "": the job chooses none
    threads: int
    work: JobWork
    format: int = RECORD_FORMAT


RECORD = TypeAdapter(JobRecord)


def _process_age() -> float:
    return max(time.time() - float(psutil.Process().create_time()), 0.0)


@dataclass(frozen=True)
class JobRecorder:
    """Measure a job from here on; a call ends the measurement and writes the record."""

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
    """Read the records of all studies under `root`; notes name those that cannot be used."""
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
        *_note_unused(unreadable, root, "cannot be read"),
        *_note_unused(foreign, root, f"not of format {RECORD_FORMAT}, which this version of GradFaith reads"),
    ]


def _note_unused(files: Sequence[Path], root: Path, why: str) -> list[str]:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return [f"{files[0].relative_to(root)}{more} not used: {why}"] if files else []


def _peak_memory_mb() -> float:
    """Return the most memory that this program held; getrusage would count what Snakemake held before it started it."""
    status = Path("/proc/self/status")
    if status.is_file() and (peak := re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.M)):
        return int(peak[1]) / 1e3
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, which has no /proc
    return peak_bytes / 1e6
