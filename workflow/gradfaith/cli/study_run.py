"""Run Snakemake on a study as a process, show the progress, and print a summary of the results.

    on a terminal    a line per finished job, and one status line with a bar below them, redrawn twice a second
    elsewhere        the same lines; the status as a line of its own, once a minute, without control characters

All this goes to standard error, and the summary at the end to standard output. Ctrl-C, SIGTERM and SIGHUP are
passed on to Snakemake, which ends its jobs; the exit code is Snakemake's. Its errors are shown unchanged.
"""

import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Protocol

from tqdm import tqdm

from gradfaith.cli import snakemake_process
from gradfaith.cli.run_progress import RunProgress, format_seconds, format_table
from gradfaith.dag.plan import Plan
from gradfaith.reporting.escaping import one_line

REDRAW_SECONDS, STATUS_SECONDS, DRAIN_SECONDS = 0.5, 60.0, 2.0
BAR_CHARACTERS, SHORT_BAR, NARROW = 10, 4, 80
FORWARDED = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM, signal.SIGHUP: signal.SIGTERM}
NO_RUN = {"-n", "--dry-run", "--dryrun", "--report", "--lint", "--unlock", "--summary", "--help", "--version"}
MAX_TABLE_LINES = 40  # of one table in the summary
INTERVAL = re.compile(r" ?\[[^\]]*\]")
WIDE = 200  # characters of a line where the output is no terminal


class Display(Protocol):
    """Where lines and the status go."""

    def line(self, text: str) -> None: ...
    def status(self, progress: RunProgress) -> None: ...
    def close(self) -> None: ...


class PlainDisplay:
    """Lines only, for a log file."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is a command
        self._last = time.monotonic()

    def status(self, progress: RunProgress) -> None:
        if time.monotonic() - self._last > STATUS_SECONDS:
            self.line(f"{progress.done}/{progress.total}  {progress.status()}")

    def close(self) -> None:
        pass


class BarDisplay:
    """Lines above one status line that is redrawn, as wide as the terminal is at the moment."""

    def __init__(self) -> None:
        self._bar = tqdm(total=0, file=sys.stderr, dynamic_ncols=True, leave=False, mininterval=0)

    def line(self, text: str) -> None:
        self._bar.write(text, file=sys.stderr)

    def status(self, progress: RunProgress) -> None:
        columns = _columns(sys.stderr) - 1  # in the last column some terminals begin a line
        head = f"{progress.done}/{progress.total} |"
        bar = SHORT_BAR if columns < NARROW else BAR_CHARACTERS
        self._bar.total, self._bar.n, self._bar.bar_format = (
            progress.total,
            progress.done,
            f"{head}{{bar:{bar}}}| {{desc}}",
        )
        text = progress.status(columns - len(head) - bar - len("| "))
        self._bar.set_description_str(text, refresh=False)
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


@dataclass(frozen=True)
class RunRequest:
    """What to run: a study, and the arguments for Snakemake."""

    plan: Plan
    study_file: Path
    root: Path
    arguments: Sequence[str]


def run_study(request: RunRequest) -> int:
    """Run a study, print its summary if it is complete, and return Snakemake's exit code."""
    arguments = [f"--configfile={request.study_file}", *request.arguments]  # with "=" it takes no target after it
    if NO_RUN & {word.partition("=")[0] for word in arguments}:  # nothing to follow
        return subprocess.run(
            [snakemake_process.find_executable(), *arguments], cwd=request.root, check=False
        ).returncode
    progress = RunProgress(request.plan, request.root)
    terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    display: Display = BarDisplay() if terminal else PlainDisplay()
    process, events = snakemake_process.start(arguments, request.root)
    try:
        with _handing_on_signals(process):
            _follow(process, events, progress, display)
    finally:
        display.close()
    code = process.wait()
    for line in _describe_end(request, progress, code):
        print(line, flush=True)  # noqa: T201 - this is a command
    return code if code >= 0 else 128 - code  # as a shell says that a signal ended it


def _follow(process: subprocess.Popen[bytes], events: IO[bytes], progress: RunProgress, display: Display) -> None:
    """Show events and output until the process has ended."""
    lines: queue.Queue[tuple[bool, bytes]] = queue.Queue()
    assert process.stdout is not None
    readers = [
        threading.Thread(target=_read_lines, args=(stream, is_event, lines), daemon=True)
        for stream, is_event in ((events, True), (process.stdout, False))
    ]
    for reader in readers:
        reader.start()
    ended = None
    while not (
        ended and lines.empty() and (not any(map(threading.Thread.is_alive, readers)) or time.monotonic() > ended)
    ):
        try:
            is_event, text = lines.get(timeout=REDRAW_SECONDS)
            shown = progress.receive(json.loads(text)) if is_event else [text.decode(errors="replace")]
            for line in shown:
                display.line(one_line(line.rstrip()))
        except queue.Empty:
            pass
        if ended is None and process.poll() is not None:
            ended = time.monotonic() + DRAIN_SECONDS  # a job that lives on may hold the output open
        if lines.empty():
            display.status(progress)


def _read_lines(stream: IO[bytes], is_event: bool, lines: "queue.Queue[tuple[bool, bytes]]") -> None:
    for line in stream:
        if line.strip():
            lines.put((is_event, line))


@contextmanager
def _handing_on_signals(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Hand every signal that would end this process on to Snakemake, unless it is ignored (`nohup`)."""

    def hand_on(number: int, _frame: FrameType | None) -> None:
        if process.poll() is None:
            process.send_signal(FORWARDED[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in FORWARDED}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, hand_on)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _describe_end(request: RunRequest, progress: RunProgress, code: int) -> Iterator[str]:
    """Yield how the run ended and, if the study is complete, its tables and the paths of what it made."""
    took, paths = format_seconds(time.monotonic() - progress.started), request.plan.paths
    if code:
        if not progress.total:
            yield f"Snakemake ended with exit code {code} before its first job."
            return
        yield f"The run ended with exit code {code} after {took}: {progress.done} of {progress.total} jobs finished."
        if progress.failed:
            yield f"Failed: {'; '.join(progress.failed.values())}."
            yield f"Logs: results/{request.plan.study.study}/logs/"
        file = request.study_file
        shown = file.relative_to(request.root) if file.is_relative_to(request.root) else file
        yield f"What is finished stays. `gradfaith run {shown}` continues."
        return
    yield f"{progress.done} jobs in {took}." if progress.total else "Nothing to do: all results are up to date."
    headlines_first = sorted(request.plan.tables, key=lambda table: table != "summary")
    tables = [Path(paths.table(table, "md")) for table in headlines_first]
    figures = [Path(paths.figure(figure, "svg")) for figure in request.plan.figures]
    if not all((request.root / path).is_file() for path in tables):
        return  # only some targets were asked for
    for path in tables:
        yield ""
        yield from format_markdown(request.root / path, _columns(sys.stdout), path)
    yield ""
    yield f"Figures: {', '.join(path.name for path in figures)} in {figures[0].parent}/"
    yield f"Tables: {', '.join(path.name for path in tables)} in {tables[0].parent}/, also as HTML, CSV and LaTeX"
    report = tables[0].parents[1] / "report.zip"
    make = f"snakemake --report {report} --configfile {request.study_file}"
    yield f"Report: {report}" if (request.root / report).is_file() else f"Report: `{make}` writes it"


def format_markdown(file: Path, columns: int, name: Path) -> list[str]:
    """Return a Markdown document as text: tables with aligned columns, cut to `columns` and to MAX_TABLE_LINES.

    Where a table is wider, its intervals (in brackets) are left out before its lines are cut.
    """
    lines, rows = list[str](), list[list[str]]()
    for line in [*file.read_text(encoding="utf-8").splitlines(), ""]:
        text = re.sub(r"\\(.)", r"\1", re.sub(r"<sup>(\w+)</sup>", r" (\1)", line)).strip()
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
            rows.append([re.sub(r"\\(.)", r"\1", re.sub(r"<sup>(\w+)</sup>", r" (\1)", cell)) for cell in cells])
            continue
        lines += _fit_table([row for row in rows if not set("".join(row)) <= set("-: ")], columns)
        rows = []
        if text or (lines and lines[-1]):
            lines += textwrap.wrap(text.lstrip("# "), columns) or [""]
    if len(lines) > MAX_TABLE_LINES:
        lines = [*lines[:MAX_TABLE_LINES], f"... {len(lines) - MAX_TABLE_LINES} more lines in {name}"]
    return [one_line(line) for line in lines]


def _fit_table(rows: list[list[str]], columns: int) -> list[str]:
    if not rows:
        return []
    lines = format_table(rows)
    if max(map(len, lines)) > columns:
        short = format_table([[INTERVAL.sub("", cell) for cell in row] for row in rows])
        lines = [*short, *(["(too wide here for its intervals)"] if short != lines else [])]
    return [line if len(line) <= columns else f"{line[: columns - 3]}..." for line in lines]


def _columns(stream: IO[str]) -> int:
    """Return how many characters a line of a stream's terminal has room for."""
    return (
        shutil.get_terminal_size((WIDE, 24)).columns
        if not stream.isatty()
        else os.get_terminal_size(stream.fileno()).columns
    )
