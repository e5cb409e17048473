"""What a study will cost, by rule, from what jobs like these have cost before.

    seconds = start-up + rate * work,    rate = median over records of (seconds - start-up) / work

A record is a finished job, of any study whose file still says what it was (cli/cost/history.py); `work` is counted in cli/cost/jobs.py. The nearest
records are taken: the same network, size and bundle, else the same network and size, else the same network, else the same rule on
other networks. A small network says little of a large one, so those hours are shown apart, and nothing is said of the size
of weights and maps. Records of a GPU stand before those of a CPU, and only they make GPU-hours; jobs that share a GPU count
each in full. Storage goes the same way, from the sizes of files. A job whose outputs are there costs nothing more, stale or not;
one without any record has no price.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from gradfaith.cli.cost.history import Record, records, size
from gradfaith.cli.cost.jobs import GPU_RULES, START, Job, jobs, sizes
from gradfaith.dag.plan import Plan

NEAR: tuple[tuple[str, Callable[[Job], object]], ...] = (
    ("same cells", lambda job: (job.network, job.side, job.kind)),
    ("same network", lambda job: (job.network, job.side)),
    ("other image sizes", lambda job: (job.network, job.kind)),
    ("other image sizes", lambda job: job.network),
    ("other networks", lambda _job: None),
)
OTHERS = len(NEAR) - 1
SIZED_BY_NETWORK = {"train", "explain", "weights"}


@dataclass(frozen=True)
class Line:
    """One rule of a study."""

    rule: str
    jobs: int
    left: int
    hours: float | None  # of what is left; None: no record
    guessed: float  # of these, hours from other networks
    device: str
    kept: int  # bytes that are there
    coming: float  # bytes to come, of those jobs of which it can be said
    unsized: int  # the others
    memory: float  # MB, the most that a record took
    basis: str

    @property
    def on_gpu(self) -> bool:
        return self.rule in GPU_RULES


class Price(NamedTuple):
    """Of one job, and how near the records are that say so."""

    seconds: float
    size: float | None
    near: int


def predicted(plan: Plan, root: Path, images: int | None = None) -> tuple[list[Line], list[str]]:
    """A line per rule, and what the reader should know of them."""
    counted = sizes(plan, images)
    if counted is None:
        return [], ["nobody knows yet how many images there are: run `snakemake` up to the split, or say --images"]
    wanted = list(jobs(plan, counted))
    known, notes = records(plan, wanted, root)
    if images is not None and images != round(counted.images):
        notes.append(f"--images {images} is not used: {plan.layout.splits} has {counted.images:.0f}")
    by_rule = groupby(sorted(wanted, key=_order(wanted)), key=lambda job: job.rule)
    return [_line(rule, list(own), known.get(rule, [])) for rule, own in by_rule], notes


def text(lines: Sequence[Line], notes: Iterable[str]) -> str:
    """The table as a person reads it, sums below."""
    said: list[str] = []
    if lines:
        heads = ("rule", "jobs", "done", "left", "hours left", "on", "on disk", "to come", "memory", "from")
        rows = [heads, *(_cells(line) for line in lines)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        said = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        said += ["", *_sums(lines)]
    return "\n".join([*said, *(f"note: {note}" for note in notes)]) + "\n"


def _sums(lines: Sequence[Line]) -> list[str]:
    priced = [line for line in lines if line.left and line.hours is not None]
    unpriced = [line for line in lines if line.left and line.hours is None]
    gpu = sum(line.hours or 0 for line in priced if line.on_gpu and line.device == "cuda")
    elsewhere = [line.rule for line in lines if line.on_gpu and line.left and line.device != "cuda"]
    left, total = sum(line.left for line in lines), sum(line.jobs for line in lines)
    unknown, unsized = sum(line.left for line in unpriced), sum(line.unsized for line in lines)
    guessed = sum(line.guessed for line in priced)
    said = [
        f"{total} jobs, {total - left} done (their files are there; `snakemake -n` says which are stale), {left} left",
        f"{_least(unknown, left)}{sum(line.hours or 0 for line in priced):.2f} hours of jobs, {gpu:.2f} of them GPU-hours"
        + " (jobs that share a GPU count each in full)" * bool(gpu),
        f"storage: {_bytes(sum(line.kept for line in lines))} there, "
        f"{_least(unsized, left)}{_bytes(sum(line.coming for line in lines))} to come",
    ]
    if guessed:
        said.append(f"{guessed:.2f} of these hours are from other networks: too few where those are smaller")
    if unpriced:
        said.append(f"no record to predict from: {', '.join(line.rule for line in unpriced)}")
    if elsewhere:
        said.append(f"no record from a GPU, so no GPU-hours: {', '.join(elsewhere)}")
    return said


def _least(unknown: int, left: int) -> str:
    return f"not known for {unknown} of {left} jobs, for the others " if unknown else ""


def _line(rule: str, wanted: Sequence[Job], known: Sequence[Record]) -> Line:
    left = [job for job in wanted if not all(Path(path).is_file() for path in job.outputs)]
    used = [record for record in known if record.device == "cuda"] or known
    prices = [_price(job, used) for job in left] if used else []
    farthest = max(prices, key=lambda price: price.near).near if prices else None
    return Line(
        rule, len(wanted), len(left),
        hours=sum(price.seconds for price in prices) / 3600 if used or not left else None,
        guessed=sum(price.seconds for price in prices if price.near == OTHERS) / 3600,
        device=used[0].device if used else "",
        kept=sum(size(job) for job in wanted),
        coming=sum(price.size or 0 for price in prices),
        unsized=len(left) - sum(price.size is not None for price in prices),
        memory=max((record.memory for record in used), default=0),
        basis=_basis(len(used), farthest, any(job.network for job in wanted)),
    )  # fmt: skip


def _basis(count: int, farthest: int | None, network: bool) -> str:
    if not count:
        return "no record"
    said = f"{count} record{'s' * (count > 1)}"
    return said if farthest is None else f"{said}, {NEAR[farthest][0] if network else 'same rule'}"


def _price(job: Job, known: Sequence[Record]) -> Price:
    nearest = ([record for record in known if near(record.job) == near(job)] for _, near in NEAR)
    number, own = next((number, found) for number, found in enumerate(nearest) if found)  # the last takes all
    rate = statistics.median(max(one.seconds - START, 0.1 * one.seconds) / one.work for one in own)
    foreign = number == OTHERS and job.rule in SIZED_BY_NETWORK
    sized = [one.size / one.job.amount for one in own if one.size and one.job.amount and not foreign]
    room = statistics.median(sized) * job.amount if sized else 0.0 if not job.amount else None
    return Price(min(START, *(one.seconds for one in own)) + rate * job.work, room, number)


def _order(wanted: Sequence[Job]) -> Callable[[Job], int]:
    places: Mapping[str, int] = {rule: place for place, rule in enumerate(dict.fromkeys(job.rule for job in wanted))}
    return lambda job: places[job.rule]


def _cells(line: Line) -> tuple[str, ...]:
    hours = "-" if not line.left else "no record" if line.hours is None else f"{line.hours:.2f}"
    known = line.left - line.unsized
    coming = "-" if not line.left else _bytes(line.coming) + f" ({known} of {line.left})" * (known < line.left)
    memory = f"{line.memory:.0f} MB" if line.memory else "?"
    done = line.jobs - line.left
    return (
        line.rule, str(line.jobs), str(done), str(line.left), hours, line.device or "-", _bytes(line.kept),
        coming if known or not line.left else "?", memory, line.basis,
    )  # fmt: skip


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
