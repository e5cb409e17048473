"""What a study will cost, by rule, from what jobs like these have cost before.

    seconds = start-up + rate * work,    rate = median over records of (seconds - start-up) / work

A record is a finished job's benchmark file, of any study whose configuration still says what it was; `work` is counted in
work.py. The nearest records are taken: the same network and bundle, else the same network, else the same rule on other
networks, which the table says. Records of a GPU stand before those of a CPU, and only they make GPU-hours. Storage goes the
same way, from the sizes of files. A job whose outputs are there costs nothing more; one without any record has no price.
"""

import csv
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from gradfaith import studies
from gradfaith.errors import Refusal
from gradfaith.plan import Plan
from gradfaith.work import GPU_RULES, Job, jobs, sizes

START = 5.0  # seconds before a job computes: Python, torch and timm
NEAR: tuple[tuple[str, Callable[[Job], object]], ...] = (
    ("same cells", lambda job: (job.network, job.kind)),
    ("same network", lambda job: job.network),
    ("other networks", lambda _job: None),
)


class Record(NamedTuple):
    """What one finished job took."""

    job: Job
    seconds: float
    memory: float  # MB
    device: str  # cuda, mps, cpu; empty: the rule chooses none
    size: int  # bytes of its outputs


@dataclass(frozen=True)
class Line:
    """One rule of a study."""

    rule: str
    jobs: int
    left: int
    hours: float | None  # of what is left; None: no record
    device: str
    kept: int  # bytes that are there
    coming: float | None  # bytes to come
    memory: float  # MB, the most that a record took
    basis: str

    @property
    def on_gpu(self) -> bool:
        return self.rule in GPU_RULES


def predicted(plan: Plan, root: Path, images: int | None = None) -> tuple[list[Line], list[str]]:
    """A line per rule, and what the reader should know of them."""
    size = sizes(plan, images)
    if size is None:
        return [], ["nobody knows yet how many images there are: run `snakemake` up to the split, or say --images"]
    wanted = list(jobs(plan, size))
    records, notes = _records(plan, wanted, root)
    by_rule = groupby(sorted(wanted, key=_order(wanted)), key=lambda job: job.rule)
    return [_line(rule, list(own), records.get(rule, [])) for rule, own in by_rule], notes


def text(lines: Sequence[Line], notes: Iterable[str]) -> str:
    """The table as a person reads it, sums below."""
    heads = ("rule", "jobs", "done", "left", "hours left", "on", "on disk", "to come", "memory", "from")
    rows = [heads, *(_cells(line) for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    said = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if lines:
        said += ["", *_sums(lines)]
    return "\n".join([*said, *(f"note: {note}" for note in notes)]) + "\n"


def _sums(lines: Sequence[Line]) -> list[str]:
    priced = [line for line in lines if line.left and line.hours is not None]
    gpu = [line for line in priced if line.on_gpu and line.device == "cuda"]
    unpriced = [line.rule for line in lines if line.left and line.hours is None]
    elsewhere = [line.rule for line in lines if line.on_gpu and line.left and line.device != "cuda"]
    left, total = sum(line.left for line in lines), sum(line.jobs for line in lines)
    said = [
        f"{total} jobs, {total - left} done, {left} left: {sum(line.hours or 0 for line in priced):.2f} hours of jobs, "
        f"{sum(line.hours or 0 for line in gpu):.2f} of them GPU-hours",
        f"storage: {_bytes(sum(line.kept for line in lines))} there, "
        f"{_bytes(sum(line.coming or 0 for line in lines))} to come",
    ]
    if unpriced:
        said.append(f"no record to predict from: {', '.join(unpriced)}")
    if elsewhere:
        said.append(f"no record from a GPU, so no GPU-hours: {', '.join(elsewhere)}")
    return said


def _line(rule: str, wanted: Sequence[Job], records: Sequence[Record]) -> Line:
    left = [job for job in wanted if not all(Path(path).is_file() for path in job.outputs)]
    on_gpu = [record for record in records if record.device == "cuda"]
    used = on_gpu or records
    found = [_price(job, used) for job in left]
    basis = max((price[2] for price in found), default="")
    places = [name for name, _ in NEAR]
    kept = sum(_size(job) for job in wanted)
    return Line(
        rule, len(wanted), len(left),
        hours=None if any(price[0] is None for price in found) else sum(price[0] or 0 for price in found) / 3600,
        device=used[0].device if used else "",
        kept=kept,
        coming=None if any(price[1] is None for price in found) else sum(price[1] or 0 for price in found),
        memory=max((record.memory for record in used), default=0),
        basis=f"{len(used)} records, {places[int(basis)]}" if basis else f"{len(used)} records" if used else "no record",
    )  # fmt: skip


def _price(job: Job, records: Sequence[Record]) -> tuple[float | None, float | None, str]:
    """Seconds, bytes and how near the records are that say so, as the number of NEAR."""
    for number, (_, near) in enumerate(NEAR):
        own = [record for record in records if near(record.job) == near(job)]
        if own:
            rate = statistics.median(max(one.seconds - START, 0.1 * one.seconds) / one.job.work for one in own)
            sized = [one.size / one.job.amount for one in own if one.size]
            bytes_ = statistics.median(sized) * job.amount if sized else None
            return min(START, *(one.seconds for one in own)) + rate * job.work, bytes_, str(number)
    return None, None, ""


def _records(plan: Plan, wanted: Sequence[Job], root: Path) -> tuple[dict[str, list[Record]], list[str]]:
    """Every benchmark of every study that can still be read, by rule."""
    known, notes = {job.benchmark: job for job in wanted}, list[str]()
    for folder in sorted((root / "results").glob("*/benchmarks")):
        name = folder.parent.name
        if name == plan.study.study:
            continue
        try:
            path = studies.find(name, root)
            other = Plan.read(studies.read(path), root, str(path)) if path else None
        except Refusal:
            other = None
        size = sizes(other) if other else None
        if other is None or size is None:
            notes.append(f"results/{name} has records, and no study in config/ says what they are of: not used")
            continue
        known = {job.benchmark: job for job in jobs(other, size)} | known
    found: dict[str, list[Record]] = {}
    for benchmark, job in known.items():
        if Path(benchmark).is_file() and (record := _record(job, Path(benchmark))):
            found.setdefault(job.rule, []).append(record)
    return found, notes


def _record(job: Job, benchmark: Path) -> Record | None:
    with benchmark.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    if not rows:
        return None
    seconds, memory = float(rows[-1]["s"]), rows[-1]["max_rss"]
    return Record(job, seconds, 0.0 if memory in {"NA", "-"} else float(memory), _device(Path(job.log)), _size(job))


def _device(log: Path) -> str:
    """What a job said it computed on."""
    if not log.is_file():
        return ""
    with log.open(encoding="utf-8", errors="replace") as file:
        said = next((line for line in file if line.startswith("device: ")), "")
    return said.removeprefix("device: ").partition(",")[0].strip()


def _size(job: Job) -> int:
    return sum(path.stat().st_size for path in map(Path, job.outputs) if path.is_file())


def _order(wanted: Sequence[Job]) -> Callable[[Job], int]:
    places: Mapping[str, int] = {rule: place for place, rule in enumerate(dict.fromkeys(job.rule for job in wanted))}
    return lambda job: places[job.rule]


def _cells(line: Line) -> tuple[str, ...]:
    hours = "-" if not line.left else "no record" if line.hours is None else f"{line.hours:.2f}"
    coming = "-" if not line.left else "?" if line.coming is None else _bytes(line.coming)
    memory = f"{line.memory:.0f} MB" if line.memory else "?"
    done = line.jobs - line.left
    return (
        line.rule, str(line.jobs), str(done), str(line.left), hours, line.device or "-", _bytes(line.kept), coming, memory,
        line.basis,
    )  # fmt: skip


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
