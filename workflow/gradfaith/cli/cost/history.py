"""What finished jobs took, by their benchmark files, as far as it is still known what they were.

A job's benchmark is of its last attempt and of all that it did, so two things are set right. A training that was resumed took
the seconds of all its epochs, which history.csv has; and seconds in which a job waited for a GPU, which its log has, are
not its own. Work is what was done, not what the study's file says now: a training did the epochs in its history, with the network
on its card; a map store says with which settings it was made. A record that does not fit these is left out, by name. Other
settings (a battery's metrics, say) are not looked at.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gradfaith.cli.cost.jobs import START, Job, jobs, sizes
from gradfaith.config import locate
from gradfaith.dag.plan import Plan
from gradfaith.errors import Refusal
from gradfaith.storage import hdf5


class Record(NamedTuple):
    """What one finished job took."""

    job: Job
    work: float
    seconds: float
    memory: float  # MB
    device: str  # cuda, mps, cpu; empty: the rule chooses none
    size: int  # bytes of its outputs


def records(plan: Plan, wanted: Iterable[Job], root: Path) -> tuple[dict[str, list[Record]], list[str]]:
    """Every benchmark of every study that can still be read, by rule, and what was left out."""
    known, notes = {job.benchmark: job for job in wanted}, list[str]()
    for folder in sorted((root / "results").glob("*/benchmarks")):
        name = folder.parent.name
        if name != plan.study.study:
            try:
                known = {job.benchmark: job for job in _jobs(name, root)} | known
            except (Refusal, _Unused) as error:
                notes.append(f"results/{name} has records that are not used: {error.args[0]}")
    found: dict[str, list[Record]] = {}
    strange: list[str] = []
    for benchmark, job in known.items():
        if not Path(benchmark).is_file() or not job.work:
            continue
        try:
            record = _record(job)
        except _Unused:
            strange.append(benchmark)
        except (Refusal, OSError, ValueError, KeyError, TypeError, IndexError, csv.Error) as error:
            said = f"{type(error).__name__}: {error.args[0] if error.args else ''}"
            notes.append(f"{benchmark} is not used: it, or what it is of, cannot be read ({said})")
        else:
            found.setdefault(job.rule, []).append(record)
    if strange:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        notes.append(f"not used, as what was done is not what the study's file says now: {strange[0]}{more}")
    return found, notes


def size(job: Job) -> int:
    """Bytes of what a job has written."""
    return sum(path.stat().st_size for path in map(Path, job.outputs) if path.is_file())


class _Unused(Exception):
    """Nobody knows what a record is of."""


def _jobs(name: str, root: Path) -> Iterator[Job]:
    path = locate.find(name, root)
    if path is None:
        raise _Unused("no study in config/ says what they are of")
    plan = Plan.read(locate.read(path), root, str(path))
    counted = sizes(plan)
    if counted is None:
        raise _Unused("nobody knows of how many images they are")
    return jobs(plan, counted)


def _record(job: Job) -> Record:
    with Path(job.benchmark).open(encoding="utf-8") as file:
        row = list(csv.DictReader(file, delimiter="\t"))[-1]
    memory = row["max_rss"]
    device, waited = _said(Path(job.log))
    work, seconds = job.work, max(float(row["s"]) - waited, 0.0)
    if job.rule == "train":
        work, seconds = _training(job, seconds)
    elif job.maps and Path(job.maps).is_file():
        with hdf5.Maps(job.maps) as maps:
            _same(maps.stamp["settings"], job.settings)
    return Record(job, work, seconds, 0.0 if memory in {"NA", "-"} else float(memory), device, size(job))


def _training(job: Job, seconds: float) -> tuple[float, float]:
    """The work of the epochs that were done, and the seconds of all of them."""
    _, card, history = map(Path, job.outputs)
    network = json.loads(card.read_text(encoding="utf-8"))["spec"]
    _same({key: network[key] for key in job.settings["spec"]}, job.settings["spec"])
    with history.open(encoding="utf-8") as file:
        epochs = [float(row["seconds"]) for row in csv.DictReader(file)]
    asked = job.settings["epochs"]
    if bool(epochs) != bool(asked):
        raise _Unused
    return job.work * len(epochs) / asked if asked else job.work, max(seconds, START + sum(epochs) if epochs else 0)


def _same(found: Any, asked: Any) -> None:
    if found != json.loads(json.dumps(asked, default=str)):
        raise _Unused


def _said(log: Path) -> tuple[str, float]:
    """What a job says that it computed on, and how many seconds it waited for that."""
    device, waited = "", 0.0
    if log.is_file():
        with log.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("waited ") and not device:
                    waited = float(line.split()[1])
                elif line.startswith("device: ") and not device:
                    device = line.removeprefix("device: ").partition(",")[0].strip()
    return device, waited
