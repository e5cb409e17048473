"""`gradfaith run` around a real Snakemake: its lines, its status line, its errors, how it ends, and its exit code."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from test_kill import gradfaith, jobs_of, wait_for
from workspace import TINY, Workspace

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("workflow")]  # the finished study is made once

SPLIT, WEIGHTS = "results/tiny/data/splits.parquet", "results/tiny/models/net-a/seed-0/weights.safetensors"
ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
SECONDS = 20.0  # what an end may take on a machine that is busy with other tests


def start(space: Workspace, *arguments: str, output: int = subprocess.PIPE) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gradfaith.cli.main", "run", TINY, *arguments]
    environment = {**space.environment, "PYTHONPATH": str(space.folder / "workflow"), "TERM": "xterm"}
    return subprocess.Popen(
        command, cwd=space.folder, env=environment, start_new_session=True, text=True,
        stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT if output == subprocess.PIPE else output,
    )  # fmt: skip


def test_without_a_terminal_there_are_plain_lines_and_no_control_characters(fresh: Workspace) -> None:
    done = gradfaith(fresh, "run", TINY, "--cores", "1", "--profile", "laptop", "--", SPLIT)
    assert done.returncode == 0, done.stderr
    assert "2 jobs to run" in done.stderr
    assert [line.split()[0::3] for line in done.stderr.splitlines() if "/2 " in line] == [
        ["1/2", "index"],
        ["2/2", "split"],
    ]
    assert done.stdout.startswith("2 jobs in ")
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", done.stdout + done.stderr)
    again = gradfaith(fresh, "run", TINY, "--", SPLIT)
    assert (again.returncode, again.stdout) == (0, "Nothing to do: all results are up to date.\n")


@pytest.mark.parametrize("columns", [60, 140])
def test_on_a_terminal_one_status_line_is_redrawn_within_its_width(fresh: Workspace, columns: int) -> None:
    above, below = pty.openpty()
    fcntl.ioctl(below, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    run = start(fresh, "--", SPLIT, output=below)
    os.close(below)
    text = b""
    while True:
        try:
            text += os.read(above, 65536)
        except OSError:  # the terminal is closed
            break
    assert run.wait() == 0
    drawn = [ESCAPE.sub("", part) for part in re.split(r"[\r\n]", text.decode())]
    status = [part for part in drawn if re.match(r"\d+/\d+ \|", part)]
    assert any(" | split" in part or " | 1 split" in part for part in status), drawn
    assert max(map(len, status)) < columns
    assert sum(part.rstrip().endswith(" s  index") for part in drawn) == 1


def test_a_finished_study_ends_with_its_tables_and_paths(finished: Workspace) -> None:
    done = gradfaith(finished, "run", TINY)
    assert done.returncode == 0
    assert "Nothing to do" in done.stdout
    assert re.search(r"^net-a  +0\.\d\d ", done.stdout, re.M)  # a row of classification
    assert "in results/tiny/figures/\n" in done.stdout
    assert "`snakemake --report results/tiny/report.zip --configfile " in done.stdout


def test_an_error_of_a_job_is_shown_once_and_the_exit_code_is_snakemake_s(spoilable: Workspace) -> None:
    (spoilable.folder / "mine.pth").write_bytes(b"no weights")
    spoilable.edit(TINY, "net-a: {timm:", "net-a: {weights: mine.pth, timm:")
    done = gradfaith(spoilable, "run", TINY, "--", WEIGHTS)
    text = done.stdout + done.stderr
    assert done.returncode == spoilable.snakemake(WEIGHTS, check=False).returncode == 1
    assert text.count("ModelUnusable: mine.pth cannot be read as weights: ") == 1
    assert "FAILED after" in text
    assert "Failed: train net-a, seed 0.\n" in done.stdout
    assert "Traceback" not in text


def test_a_study_that_is_wrong_is_refused_before_snakemake_starts(fresh: Workspace) -> None:
    fresh.edit(TINY, "seeds: [0, 1]", "sedes: [0, 1]")
    done = gradfaith(fresh, "run", TINY)
    assert done.returncode == 1
    assert done.stderr.startswith("StudyInvalid: ")
    assert not (fresh.folder / ".snakemake").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_run_and_its_jobs_within_seconds(spoilable: Workspace, number: signal.Signals) -> None:
    spoilable.edit(TINY, "epochs: 1,", "epochs: 400,")
    run = start(spoilable, "--", WEIGHTS)
    assert wait_for(lambda: log_of(spoilable).count(" epoch ") >= 2 or run.poll() is not None, 120)
    begun = time.monotonic()
    os.kill(run.pid, number)
    text = "" if number == signal.SIGKILL else run.communicate(timeout=60)[0]
    run.wait()
    assert wait_for(lambda: not jobs_of(spoilable), SECONDS), text
    assert wait_for(lambda: not list((spoilable.folder / ".snakemake/locks").glob("*")), SECONDS)
    assert time.monotonic() - begun < SECONDS
    if number != signal.SIGKILL:
        assert run.returncode == 1
        assert f"{number.name}: the run and its jobs are ending" in text
        assert not [words for words in ("Traceback", "Error in rule", "FAILED") if words in text], text
        assert f"`gradfaith run {TINY}` continues." in text


def log_of(space: Workspace) -> str:
    """The log of the training at work."""
    logs = list((space.folder / "results/tiny/logs/train").rglob("*.log"))
    return max(logs, key=lambda path: path.stat().st_mtime).read_text() if logs else ""


def test_an_error_before_the_first_job_is_snakemake_s_and_promises_nothing(fresh: Workspace) -> None:
    done = gradfaith(fresh, "run", TINY, "--", "nosuchtarget")
    assert (done.returncode, done.stdout) == (1, "Snakemake ended with exit code 1 before its first job.\n")
    assert "No rule to produce nosuchtarget" in done.stderr


def test_arguments_that_make_no_run_are_snakemake_s_alone(fresh: Workspace) -> None:
    done = gradfaith(fresh, "run", TINY, "--", "-n", SPLIT)
    assert done.returncode == 0
    assert "This was a dry-run" in done.stdout + done.stderr
    assert not Path(fresh.folder / SPLIT).exists()
