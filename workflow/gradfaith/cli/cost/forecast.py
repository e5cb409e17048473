"""Forecast the hours and the disk space of a study, rule by rule, from finished jobs.

    seconds = start-up + rate * work,    rate = median over finished jobs of seconds / work

The jobs of the study, and which of them are left, are what Snakemake says (cli/snakemake_process.py): a job is
left if a run would do it, because its outputs are missing or stale. Finished jobs may be of any study
(runtime/job_record.py); `work` is counted in dag/job_work.py. The most similar finished jobs are used: same
network, image size and bundle; else same network and size; else same network; else same rule on other
networks. A small network tells little about a large one, so hours from other networks are shown apart, and
the size of weights and maps is then not forecast. Jobs that ran on a GPU are preferred to those on a CPU, and
only they count as GPU-hours; jobs that share a GPU count each in full. Storage is forecast in the same way,
from file sizes. A job without any finished job like it has no forecast.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from gradfaith.cli.snakemake_process import DagJob, list_jobs
from gradfaith.dag.job_work import StudyWork, count_images, rule_family
from gradfaith.dag.plan import Plan
from gradfaith.runtime.job_record import JobRecord, JobWork, read_records

SIMILARITY_LEVELS: tuple[tuple[str, Callable[[JobWork], object]], ...] = (
    ("same cells", lambda work: (work.network, work.side, work.kind)),
    ("same network", lambda work: (work.network, work.side)),
    ("other image sizes", lambda work: (work.network, work.kind)),
    ("other image sizes", lambda work: work.network),
    ("other networks", lambda _work: None),
)
OTHER_NETWORKS = len(SIMILARITY_LEVELS) - 1
SIZED_BY_NETWORK = {"train", "explain", "weights"}


@dataclass(frozen=True)
class PlannedJob:
    """One job of the study, and its work."""

    rule: str  # figures and tables together
    outputs: tuple[Path, ...]
    left: bool
    on_gpu: bool  # it asks for a GPU, where there are any
    work: JobWork

    @property
    def bytes_on_disk(self) -> int:
        return sum(path.stat().st_size for path in self.outputs if path.is_file())


@dataclass(frozen=True)
class RuleForecast:
    """What the jobs of one rule need: a line of the table."""

    rule: str
    jobs: int
    left: int
    hours: float | None  # of the jobs left; None: no finished job to forecast from
    hours_from_other_networks: float  # of these hours
    on_gpu: bool
    device: str
    bytes_on_disk: int
    bytes_to_come: float  # of the jobs left whose size can be forecast
    jobs_without_size: int  # the other jobs left
    memory: float  # MB, the most that a finished job took
    basis: str


class JobForecast(NamedTuple):
    """What one job needs, and how similar the finished jobs are that this comes from."""

    seconds: float
    size: float | None  # bytes
    similarity: int  # place in SIMILARITY_LEVELS


def forecast_study(
    plan: Plan, study_file: Path | str, root: Path, images: int | None = None
) -> tuple[list[RuleForecast], list[str]]:
    """Return a forecast per rule, and notes for the reader.

    `images`: how many images there will be, if the dataset is not split yet.
    """
    counts = count_images(plan, images)
    if counts is None:
        return [], ["nobody knows yet how many images there are: run `snakemake` up to the split, or say --images"]
    planned = [_plan_job(job, StudyWork(plan, counts), root) for job in list_jobs(root, study_file)]
    records, notes = read_records(root)
    if images is not None and images != round(counts.images):
        notes.append(f"--images {images} is not used: the study has {counts.images:.0f}")
    return forecast_jobs(planned, records), notes


def forecast_jobs(planned: Sequence[PlannedJob], records: Sequence[JobRecord]) -> list[RuleForecast]:
    """Return a forecast per rule, in the order in which the rules end."""
    place = {job.rule: number for number, job in enumerate(planned)}
    by_rule = groupby(sorted(planned, key=lambda job: place[job.rule]), key=lambda job: job.rule)
    finished: dict[str, list[JobRecord]] = {}
    for record in records:
        if record.work.units > 0:
            finished.setdefault(rule_family(record.rule), []).append(record)
    return [_forecast_rule(rule, list(jobs), finished.get(rule, [])) for rule, jobs in by_rule]


def _plan_job(job: DagJob, work: StudyWork, root: Path) -> PlannedJob:
    outputs = tuple(root / path for path in job.outputs)
    return PlannedJob(
        rule_family(job.rule), outputs, job.left, "gpu" in job.resources, work.of(job.rule, job.wildcards)
    )


def format_forecast(lines: Sequence[RuleForecast], notes: Iterable[str]) -> str:
    """Return the text that `gradfaith cost` prints: the table, totals and notes."""
    text: list[str] = []
    if lines:
        heads = ("rule", "jobs", "done", "left", "hours left", "on", "on disk", "to come", "memory", "from")
        rows = [heads, *(_table_cells(line) for line in lines)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        text = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        text += ["", *_format_totals(lines)]
    return "\n".join([*text, *(f"note: {note}" for note in notes)]) + "\n"


def _format_totals(lines: Sequence[RuleForecast]) -> list[str]:
    priced = [line for line in lines if line.left and line.hours is not None]
    unpriced = [line for line in lines if line.left and line.hours is None]
    gpu = sum(line.hours or 0 for line in priced if line.on_gpu and line.device == "cuda")
    elsewhere = [line.rule for line in lines if line.on_gpu and line.left and line.device != "cuda"]
    left, total = sum(line.left for line in lines), sum(line.jobs for line in lines)
    unknown, unsized = sum(line.left for line in unpriced), sum(line.jobs_without_size for line in lines)
    guessed = sum(line.hours_from_other_networks for line in priced)
    text = [
        f"{total} jobs, {total - left} done, {left} left (missing or stale: what `snakemake -n` would run)",
        f"{_describe_unknown(unknown, left)}{sum(line.hours or 0 for line in priced):.2f} hours of jobs, {gpu:.2f} of them GPU-hours"
        + " (jobs that share a GPU count each in full)" * bool(gpu),
        f"storage: {_format_bytes(sum(line.bytes_on_disk for line in lines))} there, "
        f"{_describe_unknown(unsized, left)}{_format_bytes(sum(line.bytes_to_come for line in lines))} to come",
    ]
    if guessed:
        text.append(f"{guessed:.2f} of these hours are from other networks: too few where those are smaller")
    if unpriced:
        text.append(f"no record to predict from: {', '.join(line.rule for line in unpriced)}")
    if elsewhere:
        text.append(f"no record from a GPU, so no GPU-hours: {', '.join(elsewhere)}")
    return text


def _describe_unknown(unknown: int, left: int) -> str:
    return f"not known for {unknown} of {left} jobs, for the others " if unknown else ""


def _forecast_rule(rule: str, planned: Sequence[PlannedJob], finished: Sequence[JobRecord]) -> RuleForecast:
    left = [job for job in planned if job.left]
    used = [record for record in finished if record.device == "cuda"] or finished
    forecasts = [_forecast_job(job, used) for job in left] if used else []
    farthest = max(forecasts, key=lambda forecast: forecast.similarity).similarity if forecasts else None
    return RuleForecast(
        rule, len(planned), len(left),
        hours=sum(forecast.seconds for forecast in forecasts) / 3600 if used or not left else None,
        hours_from_other_networks=sum(one.seconds for one in forecasts if one.similarity == OTHER_NETWORKS) / 3600,
        on_gpu=any(job.on_gpu for job in planned),
        device=used[0].device if used else "",
        bytes_on_disk=sum(job.bytes_on_disk for job in planned),
        bytes_to_come=sum(forecast.size or 0 for forecast in forecasts),
        jobs_without_size=len(left) - sum(forecast.size is not None for forecast in forecasts),
        memory=max((record.memory_mb for record in used), default=0),
        basis=_describe_basis(len(used), farthest, any(job.work.network for job in planned)),
    )  # fmt: skip


def _describe_basis(count: int, farthest: int | None, network: bool) -> str:
    if not count:
        return "no record"
    text = f"{count} record{'s' * (count > 1)}"
    return text if farthest is None else f"{text}, {SIMILARITY_LEVELS[farthest][0] if network else 'same rule'}"


def _forecast_job(job: PlannedJob, finished: Sequence[JobRecord]) -> JobForecast:
    candidates = ([one for one in finished if key(one.work) == key(job.work)] for _, key in SIMILARITY_LEVELS)
    level, similar = next((level, jobs) for level, jobs in enumerate(candidates) if jobs)  # the last level takes all
    start_up = statistics.median(one.start_up_seconds for one in similar)
    rate = statistics.median(one.seconds / one.work.units for one in similar)
    size_differs = level == OTHER_NETWORKS and job.rule in SIZED_BY_NETWORK
    bytes_per_amount = [
        one.output_bytes / one.work.amount
        for one in similar
        if one.output_bytes and one.work.amount and not size_differs
    ]
    amount = job.work.amount
    size = statistics.median(bytes_per_amount) * amount if bytes_per_amount else 0.0 if not amount else None
    return JobForecast(start_up + rate * job.work.units, size, level)


def _table_cells(line: RuleForecast) -> tuple[str, ...]:
    hours = "-" if not line.left else "no record" if line.hours is None else f"{line.hours:.2f}"
    known = line.left - line.jobs_without_size
    coming = (
        "-" if not line.left else _format_bytes(line.bytes_to_come) + f" ({known} of {line.left})" * (known < line.left)
    )
    memory = f"{line.memory:.0f} MB" if line.memory else "?"
    done = line.jobs - line.left
    return (
        line.rule, str(line.jobs), str(done), str(line.left), hours, line.device or "-", _format_bytes(line.bytes_on_disk),
        coming if known or not line.left else "?", memory, line.basis,
    )  # fmt: skip


def _format_bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
