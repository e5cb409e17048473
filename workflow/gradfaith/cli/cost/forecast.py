"""Forecast the hours and the disk space of a study, rule by rule, from finished jobs.

    seconds = start-up + rate * work,    rate = median over comparable finished jobs of seconds / work

Snakemake lists the jobs of the study, and the remaining ones, whose outputs are missing or stale
(cli/snakemake_process.py). Finished jobs may belong to any study (runtime/job_record.py); dag/job_work.py counts `work`.

A finished job is comparable if it has the same rule, the same network or one whose number of parameters differs by at most
COMPARABLE_FACTOR, and images whose pixels differ by at most this factor (twice the side). The most similar ones are used:
same network, image size and bundle; else same network and size; else same network; else similar networks. A job without a
comparable finished job is unknown, in time and in size.

Jobs that ran on a GPU are preferred to those on a CPU, and only they count as GPU-hours; jobs that share a GPU count each in
full. Disk space is forecast in the same way, from file sizes. Weights grow with the parameters. The size of a map depends on
the network's grid, so maps of another network have an unknown size.
"""

import contextlib
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from gradfaith.cli.snakemake_process import DagJob, list_jobs
from gradfaith.dag.job_work import StudyWork, count_images, read_parameters, rule_family
from gradfaith.dag.plan import Plan
from gradfaith.dag.table_work import TableWork, count_rows
from gradfaith.dag.tabular import TablePlan
from gradfaith.errors import GradFaithError
from gradfaith.runtime.job_record import JobRecord, JobWork, read_records

COMPARABLE_FACTOR = 4.0
SIZED_BY_PARAMETERS, SIZED_BY_GRID = {"train"}, {"explain"}


def _similar(a: float, b: float) -> bool:
    """Tell whether two counts differ by at most COMPARABLE_FACTOR; 0 is a count that is not known."""
    return a == b or (min(a, b) > 0 and max(a, b) <= COMPARABLE_FACTOR * min(a, b))


SIMILARITY_LEVELS: tuple[tuple[str, Callable[[JobWork, JobWork], bool]], ...] = (
    ("same cells", lambda a, b: (a.network, a.side, a.kind) == (b.network, b.side, b.kind)),
    ("same network", lambda a, b: (a.network, a.side) == (b.network, b.side)),
    ("other image sizes", lambda a, b: (a.network, a.kind) == (b.network, b.kind) and _similar(a.side**2, b.side**2)),
    ("other image sizes", lambda a, b: a.network == b.network and _similar(a.side**2, b.side**2)),
    ("similar networks", lambda a, b: _similar(a.parameters or -1, b.parameters) and _similar(a.side**2, b.side**2)),
)
SIMILAR_NETWORKS = len(SIMILARITY_LEVELS) - 1


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
    hours: float  # of the jobs left whose time can be forecast
    jobs_without_hours: int  # the other jobs left
    hours_from_similar_networks: float  # of these hours
    on_gpu: bool
    device: str
    bytes_on_disk: int
    bytes_to_come: float  # of the jobs left whose size can be forecast
    jobs_without_size: int  # the other jobs left
    memory: float  # MB, the most that a comparable finished job took; 0: unknown
    basis: str


@dataclass(frozen=True)
class JobForecast:
    """What one job needs, and how similar the finished jobs are that this comes from."""

    seconds: float
    size: float | None  # bytes
    similarity: int  # place in SIMILARITY_LEVELS
    memory: float  # MB, the most that one of them took


def forecast_study(
    plan: Plan | TablePlan, study_file: Path | str, root: Path, images: int | None = None
) -> tuple[list[RuleForecast], list[str]]:
    """Return a forecast per rule, and notes for the reader.

    `images`: how many images there will be, if the dataset is not split yet.
    """
    if isinstance(plan, TablePlan):  # without its file Snakemake lists no jobs, so the rows are known
        rows, (records, notes) = TableWork(plan, count_rows(plan) or 0), read_records(root)
        return forecast_jobs([_plan_job(job, rows, root) for job in list_jobs(root, study_file)], records), notes
    counts = count_images(plan, images)
    if counts is None:
        return [], [
            "the number of images is not known before the split: run `snakemake` up to the rule split, or give --images"
        ]
    records, notes = read_records(root)
    work = StudyWork(plan, counts, count_parameters(plan, records))
    planned = [_plan_job(job, work, root) for job in list_jobs(root, study_file)]
    if images is not None and images != round(counts.images):
        notes.append(f"--images {images} is not used: the study has {counts.images:.0f}")
    return forecast_jobs(planned, records), notes


def forecast_jobs(planned: Sequence[PlannedJob], records: Sequence[JobRecord]) -> list[RuleForecast]:
    """Return a forecast per rule, in the order in which the rules end."""
    place = {job.rule: number for number, job in enumerate(planned)}
    by_rule = groupby(sorted(planned, key=lambda job: place[job.rule]), key=lambda job: job.rule)
    finished = usable_records(records)
    return [_forecast_rule(rule, list(jobs), finished.get(rule, [])) for rule, jobs in by_rule]


def usable_records(records: Iterable[JobRecord]) -> dict[str, list[JobRecord]]:
    """Return the records that have a rate, by family of rules."""
    finished: dict[str, list[JobRecord]] = {}
    for record in records:
        if record.work.units > 0:
            finished.setdefault(rule_family(record.rule), []).append(record)
    return finished


def _plan_job(job: DagJob, work: StudyWork | TableWork, root: Path) -> PlannedJob:
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
    gpu = sum(line.hours for line in lines if line.on_gpu and line.device == "cuda")
    elsewhere = [line.rule for line in lines if line.on_gpu and line.left and line.device != "cuda"]
    left, total = sum(line.left for line in lines), sum(line.jobs for line in lines)
    unknown, unsized = sum(line.jobs_without_hours for line in lines), sum(line.jobs_without_size for line in lines)
    similar = sum(line.hours_from_similar_networks for line in lines)
    text = [
        f"{total} jobs, {total - left} done, {left} left (missing or stale: what `snakemake -n` would run)",
        f"{_describe_unknown(unknown, left)}{sum(line.hours for line in lines):.2f} hours of jobs, {gpu:.2f} of them GPU-hours"
        + " (jobs that share a GPU count each in full)" * bool(gpu),
        f"disk: {_format_bytes(sum(line.bytes_on_disk for line in lines))} used, "
        f"{_describe_unknown(unsized, left)}{_format_bytes(sum(line.bytes_to_come for line in lines))} to come",
    ]
    if similar:
        text.append(
            f"{similar:.2f} of these hours are from similar networks: parameters and pixels within a factor of {COMPARABLE_FACTOR:g}"
        )
    if lost := [line.rule for line in lines if line.jobs_without_hours]:
        text.append(
            f"unknown: {', '.join(lost)}. No finished job of these rules is of the same network, "
            f"or of one within a factor of {COMPARABLE_FACTOR:g} in parameters and pixels."
        )
    if elsewhere:
        text.append(f"no record from a GPU, so no GPU-hours: {', '.join(elsewhere)}")
    return text


def _describe_unknown(unknown: int, left: int) -> str:
    return f"unknown for {unknown} of {left} jobs, for the others " if unknown else ""


def _forecast_rule(rule: str, planned: Sequence[PlannedJob], finished: Sequence[JobRecord]) -> RuleForecast:
    left = [job for job in planned if job.left]
    used = _preferred(finished)
    forecasts = [found for job in left if (found := _forecast_job(rule, job.work, used))]
    sized = [forecast.size for forecast in forecasts if forecast.size is not None]
    return RuleForecast(
        rule, len(planned), len(left),
        hours=sum(forecast.seconds for forecast in forecasts) / 3600,
        jobs_without_hours=len(left) - len(forecasts),
        hours_from_similar_networks=sum(one.seconds for one in forecasts if one.similarity == SIMILAR_NETWORKS) / 3600,
        on_gpu=any(job.on_gpu for job in planned),
        device=used[0].device if used else "",
        bytes_on_disk=sum(job.bytes_on_disk for job in planned),
        bytes_to_come=sum(sized),
        jobs_without_size=len(left) - len(sized),
        memory=max((one.memory for one in forecasts), default=0) if left else max((r.memory_mb for r in used), default=0),
        basis=_describe_basis(len(used), left, forecasts, any(job.work.network for job in planned)),
    )  # fmt: skip


def _preferred(finished: Sequence[JobRecord]) -> Sequence[JobRecord]:
    """Return the records of jobs on a GPU, if there are any, else all."""
    return [record for record in finished if record.device == "cuda"] or finished


def _describe_basis(count: int, left: Sequence[PlannedJob], forecasts: Sequence["JobForecast"], network: bool) -> str:
    """Return how many finished jobs of the rule there are, and how similar the least similar job used is."""
    if not count:
        return "no record"
    text = f"{count} record{'s' * (count > 1)}"
    if not left:
        return text
    if not forecasts:
        return f"{text}, none comparable"
    farthest = max(forecast.similarity for forecast in forecasts)
    return f"{text}, {SIMILARITY_LEVELS[farthest][0] if network else 'same rule'}"


def expected_seconds(rule: str, work: JobWork, records: Mapping[str, Sequence[JobRecord]]) -> float | None:
    """Return the seconds that a job will take; None if no finished job is comparable."""
    family = rule_family(rule)
    found = _forecast_job(family, work, _preferred(records.get(family, [])))
    return found.seconds if found else None


def _forecast_job(rule: str, work: JobWork, finished: Sequence[JobRecord]) -> JobForecast | None:
    candidates = ([one for one in finished if alike(work, one.work)] for _, alike in SIMILARITY_LEVELS)
    level, similar = next(((level, jobs) for level, jobs in enumerate(candidates) if jobs), (0, []))
    if not similar:
        return None
    start_up = statistics.median(one.start_up_seconds for one in similar)
    rate = statistics.median(one.seconds / one.work.units for one in similar)
    size, memory = _forecast_size(rule, work, similar, level), max(one.memory_mb for one in similar)
    return JobForecast(start_up + rate * work.units, size, level, memory)


def _forecast_size(rule: str, work: JobWork, similar: Sequence[JobRecord], level: int) -> float | None:
    """Return the bytes that a job will write; None if they are unknown."""
    if not work.amount:
        return 0.0
    if level == SIMILAR_NETWORKS and rule in SIZED_BY_GRID:
        return None
    grows = level == SIMILAR_NETWORKS and rule in SIZED_BY_PARAMETERS
    sizes = [
        one.output_bytes / one.work.amount * (work.parameters / one.work.parameters if grows else 1)
        for one in similar
        if one.output_bytes and one.work.amount
    ]
    return statistics.median(sizes) * work.amount if sizes else None


def count_parameters(plan: Plan, records: Sequence[JobRecord]) -> dict[str, int]:
    """Return the number of parameters of each architecture of a study, as far as a forecast may need it.

    It is on the card of a trained model. Other networks are built untrained, without memory for their weights, if there
    are records of other networks that they could be compared with.
    """
    known = read_parameters(plan)
    measured = {record.work.network for record in records}
    if not any(record.work.parameters for record in records):
        return known
    for arch, spec in plan.study.architectures.items():
        if arch not in known and spec.network(arch) not in measured:
            from gradfaith.cli import method_support

            with contextlib.suppress(GradFaithError):  # `check` reports it
                known[arch] = method_support.count_parameters(plan, arch)
    return known


def _table_cells(line: RuleForecast) -> tuple[str, ...]:
    memory = f"{line.memory:.0f} MB" if line.memory else "unknown"
    return (
        line.rule, str(line.jobs), str(line.jobs - line.left), str(line.left),
        _known_part(f"{line.hours:.2f}", line.left, line.jobs_without_hours), line.device or "-",
        _format_bytes(line.bytes_on_disk),
        _known_part(_format_bytes(line.bytes_to_come), line.left, line.jobs_without_size), memory, line.basis,
    )  # fmt: skip


def _known_part(text: str, left: int, unknown: int) -> str:
    """Return a sum over the jobs left, with how many of them it covers if not all; "unknown" if none, "-" if none is left."""
    if not left:
        return "-"
    return "unknown" if unknown == left else f"{text} ({left - unknown} of {left})" if unknown else text


def _format_bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
