"""Run the `snakemake` executable, or ask it about a study. It runs as a process; the package never imports Snakemake.

    a run                     `start`: the logger plug-in in scripts/logger/ writes what happens as lines of JSON
    jobs of a study           two dry runs, with and without --forceall; the same plug-in writes
                              each job as a line of JSON: rule, wildcards, outputs, threads, resources
    results without metadata  `snakemake --summary`: a table that Snakemake makes of its metadata, whichever
                              backend keeps it (files, or a database: `--persistence-backend db`)

Both are documented interfaces. If an answer has another form, that is an error, never an empty list.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gradfaith.errors import SnakemakeFailed
from gradfaith.storage.paths import PROJECT

EXECUTABLE = "snakemake"
LOGGER_FOLDER = PROJECT / "scripts/logger"
MANY_CORES = "1000"  # with fewer, Snakemake would lower the threads that a rule declares
DRY_RUN = ("--dry-run", "--nolock", "--quiet", "host", "--cores", MANY_CORES, "--logger", "gradfaith")
MAX_LISTED = 5
MAX_ERROR_LINES = 8
FIX_UNRECORDED = (
    "If a setting or a method may have changed since then, delete these files: the next run makes them again."
)


@dataclass(frozen=True)
class DagJob:
    """One job of a study's DAG, as Snakemake plans it."""

    rule: str
    wildcards: Mapping[str, str]
    outputs: tuple[str, ...]
    threads: int
    resources: Mapping[str, Any]
    left: bool  # a run would do it: outputs are missing or stale


def list_jobs(root: Path, study_file: Path | str | None = None, arguments: Sequence[str] = ()) -> list[DagJob]:
    """List every job of a study, in an order in which they could run.

    Args:
        root: the working directory of Snakemake, which holds the Snakefile.
        study_file: the study's YAML file; None: the Snakefile's own default.
    """
    with tempfile.TemporaryDirectory() as folder:
        everything, left = Path(folder, "everything"), Path(folder, "left")
        with ThreadPoolExecutor() as pool:  # two processes at once
            asked = [pool.submit(_dry_run, everything, root, study_file, "--forceall", *arguments)]
            asked += [pool.submit(_dry_run, left, root, study_file, *arguments)]
        for answer in asked:
            answer.result()
        jobs, waiting = _read_jobs(everything), {tuple(job["output"]) for job in _read_jobs(left)}
    if not jobs:
        raise _unknown_answer("no job, although a dry run with --forceall lists every job of a study")
    return [
        DagJob(job["rule_name"], job["wildcards"], outputs, job["threads"], job["resources"], outputs in waiting)
        for job in jobs
        if (outputs := tuple(job["output"]))  # a target, such as rule all, makes nothing
    ]


def find_unrecorded(root: Path, study_file: Path | str | None = None) -> list[Path]:
    """Return the results of a study of which Snakemake does not know how they were made, relative to `root`.

    Records are missing if a run was killed between a job's end and the record that Snakemake writes of it, or
    if results were copied without `.snakemake/`. The files are complete, but Snakemake takes them as they are:
    a later change of a method or a key does not make them stale. None are listed if Snakemake made none here.
    """
    if not (root / ".snakemake").is_dir():
        return []
    table = run(["--summary", "--nolock", *_configfile(study_file)], root).stdout.splitlines()
    rows = csv.DictReader(table, delimiter="\t")
    if not {"output_file", "log-file(s)"} <= set(rows.fieldnames or ()):
        raise _unknown_answer(f"a summary that starts with {table[:1]}")
    found = [(path, row["log-file(s)"]) for row in rows if (root / (path := Path(row["output_file"]))).is_file()]
    unrecorded = [path for path, logs in found if logs == "-"]  # every rule has a log
    return unrecorded if len(unrecorded) < len(found) else []  # made elsewhere, all of them


def describe_unrecorded(files: Sequence[Path]) -> str:
    """Return the sentence that lists files without a record."""
    more = f" and {len(files) - MAX_LISTED} more" if len(files) > MAX_LISTED else ""
    return f"there is no record of how these files were made: {', '.join(map(str, files[:MAX_LISTED]))}{more}"


def run(arguments: Sequence[str], root: Path) -> subprocess.CompletedProcess[str]:
    """Run `snakemake` in a folder and return what it printed; an exit status other than 0 is an error."""
    done = subprocess.run(
        [find_executable(), *arguments],
        cwd=root, env=_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise _refused(arguments, root, done.stderr or done.stdout)
    return done


def start(arguments: Sequence[str], root: Path) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """Start a run in a process group of its own; return the process, and the stream of its events as JSON lines.

    A terminal's Ctrl-C reaches the caller alone, who hands it on: Snakemake ends its jobs in order. What Snakemake
    and its jobs print comes through `stdout`. The run ends when the caller is gone.
    """
    reading, writing = os.pipe()
    logger = ["--logger", "gradfaith", "--logger-gradfaith-file", f"/dev/fd/{writing}"]
    logger += ["--logger-gradfaith-parent", str(os.getpid())]
    process = subprocess.Popen(
        [find_executable(), *logger, *arguments],
        cwd=root, env=_environment(), pass_fds=(writing,), process_group=0,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    os.close(writing)
    return process, open(reading, "rb")  # noqa: PTH123 - the caller reads it to its end


def find_executable() -> str:
    """Return the path of `snakemake`, of this environment if it is there, else on the PATH."""
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    executable = shutil.which(EXECUTABLE, path=here)
    if executable is None:
        raise SnakemakeFailed(
            problem=f"the executable `{EXECUTABLE}` is neither beside {sys.executable} nor on the PATH.",
            reason="Snakemake plans and runs the jobs of a study.",
            fix="Activate the environment that GradFaith runs in, or install Snakemake: pip install -r envs/run.txt.",
        )
    return executable


def _environment() -> dict[str, str]:
    """Return the environment in which Snakemake finds the logger plug-in."""
    path = os.pathsep.join(filter(None, (str(LOGGER_FOLDER), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path}


def _dry_run(file: Path, root: Path, study_file: Path | str | None, *arguments: str) -> None:
    run([*DRY_RUN, "--logger-gradfaith-file", str(file), *arguments, *_configfile(study_file)], root)


def _configfile(study_file: Path | str | None) -> list[str]:
    return ["--configfile", str(study_file)] if study_file else []


def _read_jobs(file: Path) -> list[dict[str, Any]]:
    """Return the jobs of a dry run; an error if they are not as many as Snakemake counts."""
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise _unknown_answer(f"lines that are not JSON ({error})") from error
    jobs = [line["job"] for line in lines if "job" in line]
    totals = {line["total"] for line in lines if "total" in line} or {0}  # none where nothing is left
    if totals != {len(jobs)}:
        raise _unknown_answer(f"{len(jobs)} jobs, but it counts {', '.join(map(str, sorted(totals)))}")
    return jobs


def _refused(arguments: Sequence[str], root: Path, output: str) -> SnakemakeFailed:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return SnakemakeFailed(
        problem=f"Snakemake ended with an error at `{EXECUTABLE} {' '.join(arguments)}` in {root}: {' '.join(lines[-MAX_ERROR_LINES:])}",
        reason="Snakemake reads the Snakefile, the study and the list of raw files before it plans a job.",
        fix="Correct what Snakemake's message names, until `snakemake -n` works with this study.",
    )


def _unknown_answer(found: str) -> SnakemakeFailed:
    return SnakemakeFailed(
        problem=f"this version of GradFaith cannot read Snakemake's answer: {found}.",
        reason="Wrongly counted jobs would give a wrong forecast.",
        fix="Install the tested version: pip install -r envs/run.txt.",
    )
