"""Read how long finished jobs took, from their benchmark files, if it is still known what the jobs were.

A benchmark covers a job's last attempt, including its waiting time, so two things are corrected. Resumed
training took the seconds of all its epochs, which are in history.csv; and the seconds in which a job waited
for a GPU, which are in its log, do not count. Work is what was done, not what the study's file says now:
training did the epochs in its history, with the network on its card; a map store states the settings it was
made with. A benchmark that does not match these is left out, and a note names it. Other settings (a battery's
metrics, for example) are not compared.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gradfaith.cli.cost.jobs import START_UP_SECONDS, PlannedJob, count_images, plan_jobs
from gradfaith.config import locate
from gradfaith.dag.plan import Plan
from gradfaith.errors import GradFaithError
from gradfaith.storage import hdf5, paths


class FinishedJob(NamedTuple):
    """What one finished job took."""

    job: PlannedJob
    work: float
    seconds: float
    memory: float  # MB
    device: str  # cuda, mps, cpu; "": the rule chooses none
    size: int  # bytes of its outputs


def read_finished_jobs(
    plan: Plan, planned: Iterable[PlannedJob], root: Path
) -> tuple[dict[str, list[FinishedJob]], list[str]]:
    """Read every usable benchmark of every study under `root`: rule -> finished jobs, and notes on what was left out."""
    jobs, notes = {job.benchmark: job for job in planned}, list[str]()
    for name in paths.studies_with_benchmarks(root):
        if name != plan.study.study:
            try:
                jobs = {job.benchmark: job for job in _plan_jobs_of_study(name, root)} | jobs
            except (GradFaithError, _UnusableRecord) as error:
                notes.append(f"results/{name} has records that are not used: {error.args[0]}")
    found: dict[str, list[FinishedJob]] = {}
    mismatched: list[str] = []
    for benchmark, job in jobs.items():
        if not Path(benchmark).is_file() or not job.work:
            continue
        try:
            record = _read_finished_job(job)
        except _UnusableRecord:
            mismatched.append(benchmark)
        except (GradFaithError, OSError, ValueError, KeyError, TypeError, IndexError, csv.Error) as error:
            cause = f"{type(error).__name__}: {error.args[0] if error.args else ''}"
            notes.append(f"{benchmark} is not used: it, or what it is of, cannot be read ({cause})")
        else:
            found.setdefault(job.rule, []).append(record)
    if mismatched:
        more = f" and {len(mismatched) - 1} more" if len(mismatched) > 1 else ""
        notes.append(f"not used, as what was done is not what the study's file says now: {mismatched[0]}{more}")
    return found, notes


def output_bytes(job: PlannedJob) -> int:
    """Return the bytes that a job has written."""
    return sum(path.stat().st_size for path in map(Path, job.outputs) if path.is_file())


class _UnusableRecord(Exception):
    """It is not known what a benchmark measured."""


def _plan_jobs_of_study(name: str, root: Path) -> Iterator[PlannedJob]:
    path = locate.find_study(name, root)
    if path is None:
        raise _UnusableRecord("no study in config/ says what they are of")
    plan = Plan.read(locate.read_document(path), root, str(path))
    image_counts = count_images(plan)
    if image_counts is None:
        raise _UnusableRecord("nobody knows of how many images they are")
    return plan_jobs(plan, image_counts)


def _read_finished_job(job: PlannedJob) -> FinishedJob:
    with Path(job.benchmark).open(encoding="utf-8") as file:
        row = list(csv.DictReader(file, delimiter="\t"))[-1]
    memory = row["max_rss"]
    device, waited = _read_device_and_wait(Path(job.log))
    work, seconds = job.work, max(float(row["s"]) - waited, 0.0)
    if job.rule == "train":
        work, seconds = _training_work_and_seconds(job, seconds)
    elif job.maps and Path(job.maps).is_file():
        with hdf5.MapStore(job.maps) as maps:
            _require_same_settings(maps.stamp["settings"], job.settings)
    return FinishedJob(job, work, seconds, 0.0 if memory in {"NA", "-"} else float(memory), device, output_bytes(job))


def _training_work_and_seconds(job: PlannedJob, seconds: float) -> tuple[float, float]:
    """Return the work of the epochs that were done, and the seconds of all of them."""
    _, card, history = map(Path, job.outputs)
    network = json.loads(card.read_text(encoding="utf-8"))["spec"]
    _require_same_settings({key: network[key] for key in job.settings["spec"]}, job.settings["spec"])
    with history.open(encoding="utf-8") as file:
        epochs = [float(row["seconds"]) for row in csv.DictReader(file)]
    epochs_planned = job.settings["epochs"]
    if bool(epochs) != bool(epochs_planned):
        raise _UnusableRecord
    return job.work * len(epochs) / epochs_planned if epochs_planned else job.work, max(
        seconds, START_UP_SECONDS + sum(epochs) if epochs else 0
    )


def _require_same_settings(found: Any, expected: Any) -> None:
    if found != json.loads(json.dumps(expected, default=str)):
        raise _UnusableRecord


def _read_device_and_wait(log: Path) -> tuple[str, float]:
    """Return the device that a job's log names, and how many seconds the job waited for it."""
    device, waited = "", 0.0
    if log.is_file():
        with log.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("waited ") and not device:
                    waited = float(line.split()[1])
                elif line.startswith("device: ") and not device:
                    device = line.removeprefix("device: ").partition(",")[0].strip()
    return device, waited
