"""Follow a run: list running and finished jobs with their times, and estimate the remaining time.

    time left = (sum of the expected seconds of remaining jobs - the seconds of running jobs so far) / most jobs at once

A job's expected seconds come from the records of finished jobs (cli/cost/forecast.py), this run's among them: the mean over
the study's architectures, bundles and batteries. Rules without a comparable record make it "at least".
"""

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradfaith.cli.cost import forecast
from gradfaith.dag.job_work import StudyWork, count_images, planned_epochs
from gradfaith.dag.plan import Plan
from gradfaith.runtime.job_record import read_records

REFRESH_SECONDS = 5.0  # seconds between two readings of the records
LOG_TAIL = 4096  # bytes of a training's log in which its last epoch is looked for
TARGET = "all"  # the rule that makes nothing
EPOCH = re.compile(rb" epoch (\d+): ")


@dataclass
class JobSeconds:
    """Expect how long a job of a rule takes, from the records of finished jobs."""

    plan: Plan
    root: Path
    _known: dict[str, float | None] = field(default_factory=dict)
    _read_at: float = -REFRESH_SECONDS

    def of(self, rule: str) -> float | None:
        """Return the expected seconds of a job; None if no finished job is comparable."""
        if rule not in self._known:
            self._known[rule] = self._mean(rule)
        return self._known[rule]

    def refresh(self) -> None:
        """Read the records again, if the last reading is a while ago: another job has finished."""
        if time.monotonic() - self._read_at > REFRESH_SECONDS:
            self._known.clear()

    def _mean(self, rule: str) -> float | None:
        if not self._known:
            self._read_at, self._counts = time.monotonic(), count_images(self.plan)
            self._records = forecast.usable_records(read_records(self.root)[0])
        if self._counts is None:
            return None
        work, plan = StudyWork(self.plan, self._counts), self.plan
        cells = [(arch, bundle) for arch in plan.architectures for bundle in plan.bundles_of(arch)]
        jobs = [
            {"arch": arch, "bundle": bundle, "battery": battery, "timm": plan.study.architectures[arch].network(arch)}
            for arch, bundle in cells
            for battery in plan.study.batteries or [""]
        ]
        found = [forecast.expected_seconds(rule, work.of(rule, job), self._records) for job in jobs]
        known = [seconds for seconds in found if seconds is not None]
        return sum(known) / len(known) if len(known) == len(found) else None


@dataclass(frozen=True)
class ActiveJob:
    """A job that Snakemake has started or submitted."""

    rule: str
    label: str  # rule and wildcards
    log: Path | None
    started: float
    makes_files: bool  # not of a target such as `all`


@dataclass
class RunProgress:
    """The state of a run, from the events of the logger plug-in."""

    plan: Plan
    root: Path
    total: int = 0
    done: int = 0
    most_at_once: int = 1
    running: dict[int, ActiveJob] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    waiting: Counter[str] = field(default_factory=Counter)  # jobs of each rule that have not ended
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.seconds = JobSeconds(self.plan, self.root)

    def receive(self, event: Mapping[str, Any]) -> list[str]:
        """Process an event, and return the lines to print for it."""
        if "total" in event:
            self.waiting = Counter({rule: count for rule, count in event["rules"].items() if rule != TARGET})
            self.total, self.done = self.waiting.total(), 0
            return [f"{self.total} jobs to run"]
        if "job" in event:
            self._start(event["job"])
        elif "finished" in event:
            return self._finish(event["finished"])
        elif "failed" in event:
            return self._fail(event["failed"])
        return str(event["text"]).splitlines() if "text" in event else []

    def status(self, columns: int = 0) -> str:
        """Return the status line: failures, time left, then the running jobs.

        `columns`: how many characters there are room for; 0: any number.
        """
        parts = [f"{len(self.failed)} failed"] if self.failed else []
        parts += [self._describe_time_left() if self.total else "Snakemake plans the jobs"]
        jobs = [self._describe(job) for job in self.running.values() if job.makes_files]
        whole = [
            jobs[:count] + [f"{len(jobs) - count} more"] * (count < len(jobs)) for count in range(len(jobs), 0, -1)
        ]
        texts = [" | ".join([*parts, ", ".join(one)]) for one in (*whole, self._count_by_rule()) if one] or [
            " | ".join(parts)
        ]
        return next((text for text in texts if not columns or len(text) <= columns), texts[-1])

    def _count_by_rule(self) -> list[str]:
        """Return how many jobs of each rule run, and the last epoch that every training has reached."""
        jobs = [job for job in self.running.values() if job.makes_files]
        epochs = [read_epoch(job.log) for job in jobs if job.rule == "train" and job.log]
        counted = [f"{count} {rule}" for rule, count in Counter(job.rule for job in jobs).items()]
        return counted + ([f"epoch {min(epochs)}/{planned_epochs(self.plan)}"] if epochs else [])

    def time_left(self) -> tuple[float, list[str]]:
        """Return the expected remaining seconds, and the rules without a comparable finished job."""
        seconds, unknown = 0.0, []
        for rule, count in self.waiting.items():
            each = self.seconds.of(rule)
            if each is None:
                unknown.append(rule)
                continue
            now = time.monotonic()
            spent = [min(now - job.started, each) for job in self.running.values() if job.rule == rule]
            seconds += count * each - sum(spent)
        return max(seconds, 0.0) / self.most_at_once, unknown

    def _start(self, job: Mapping[str, Any]) -> None:
        label = " ".join([job["rule_name"], describe_wildcards(job["wildcards"])]).rstrip()
        log = self.root / job["log"][0] if job["log"] else None
        self.failed.pop(job["jobid"], None)  # another attempt
        self.running[job["jobid"]] = ActiveJob(
            job["rule_name"], label, log, time.monotonic(), makes_files=bool(job["output"])
        )
        self.most_at_once = max(self.most_at_once, sum(one.makes_files for one in self.running.values()))

    def _finish(self, jobid: int) -> list[str]:
        job = self.running.pop(jobid, None)
        if job is None or job.rule == TARGET:
            return []
        self.done += 1
        self.waiting -= Counter([job.rule])  # removes what falls to 0
        self.seconds.refresh()
        width = len(str(self.total))
        line = f"{self.done:>{width}}/{self.total}  {format_seconds(time.monotonic() - job.started):>11}  {job.label}"
        return [line]

    def _fail(self, jobid: int) -> list[str]:
        job = self.running.pop(jobid, None)
        self.failed[jobid] = job.label if job else f"job {jobid}"
        after = f" after {format_seconds(time.monotonic() - job.started)}" if job else ""
        return [f"FAILED{after}: {self.failed[jobid]}"]

    def _describe(self, job: ActiveJob) -> str:
        epoch = read_epoch(job.log) if job.rule == "train" and job.log else 0
        return f"{job.label}, epoch {epoch}/{planned_epochs(self.plan)}" if epoch else job.label

    def _describe_time_left(self) -> str:
        seconds, unknown = self.time_left()
        if unknown:
            return f"at least {format_seconds(seconds, rough=True)} left" if seconds >= 1 else "time left unknown"
        return f"about {format_seconds(seconds, rough=True)} left"


def read_epoch(log: Path) -> int:
    """Return the last epoch that a training has written into its log; 0 if there is none yet."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - LOG_TAIL, 0))
            found = EPOCH.findall(file.read())
    except OSError:
        return 0
    return int(found[-1]) if found else 0


def describe_wildcards(wildcards: Mapping[str, str]) -> str:
    """Return the values of wildcards; a seed is a bare number, so it is named."""
    return ", ".join(f"seed {value}" if name == "seed" else str(value) for name, value in wildcards.items())


def format_seconds(seconds: float, *, rough: bool = False) -> str:
    """Return a duration in the two largest units that it has, or in the largest alone (`rough`)."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if rough else f"{seconds:.1f} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{round(seconds / 60)} min" if rough else f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def format_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
