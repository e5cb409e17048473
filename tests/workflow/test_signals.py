"""SIGTERM and Ctrl-C end a run within seconds: jobs are asked, a training keeps its state, no lock is left."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from test_kill import jobs_of, wait_for
from workspace import Workspace

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("workflow")]  # the finished study is made once

SECONDS = 20.0  # what an end may take on a machine that is busy with other tests
WEIGHTS = "results/tiny/models/net-a/seed-0/weights.safetensors"
MAPS = "results/tiny/maps/net-a/seed-0/cams.h5"


def at_work(space: Workspace, target: str, begun: str) -> subprocess.Popen[str]:
    """Snakemake in a group of its own, with a job whose log says that it computes."""
    logs: Path = space.folder / "results/tiny/logs"
    shutil.rmtree(logs)  # those of the finished study
    run = subprocess.Popen(
        space.command(target), cwd=space.folder, env=space.environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    seen = lambda: any(begun in log.read_text() for log in logs.rglob("*.log"))  # noqa: E731
    assert wait_for(lambda: seen() or run.poll() is not None, 120), "no job began"
    assert run.poll() is None, run.communicate()[0]
    return run


def send(run: subprocess.Popen[str], number: signal.Signals, to: str) -> tuple[float, str]:
    """Send a signal to Snakemake alone, or as a terminal does to all that it started; how long it takes, what is printed."""
    start = time.monotonic()
    (os.kill if to == "snakemake" else os.killpg)(run.pid, number)
    text, _ = run.communicate(timeout=60)
    return time.monotonic() - start, text


def ended(space: Workspace, run: subprocess.Popen[str], seconds: float, text: str) -> None:
    assert run.returncode == 1
    assert seconds < SECONDS, text + "".join(log.read_text() for log in (space.folder / "results").rglob("*.log"))
    assert not jobs_of(space), "a job lives on"
    assert not list((space.folder / ".snakemake/locks").glob("*")), "a lock was left"
    assert not [words for words in ("Traceback", "Error in rule", "Trying to restart") if words in text], text


ENDS = [(signal.SIGTERM, "snakemake"), (signal.SIGINT, "snakemake"), (signal.SIGINT, "group")]


@pytest.mark.parametrize(("number", "to"), ENDS)
def test_a_run_ends_within_seconds_and_its_training_goes_on_later(
    spoilable: Workspace, number: signal.Signals, to: str
) -> None:
    spoilable.edit("tiny.yaml", "epochs: 1,", "epochs: 400,")
    run = at_work(spoilable, WEIGHTS, "epoch 2:")
    ended(spoilable, run, *send(run, number, to))
    (log,) = (spoilable.folder / "results/tiny/logs/train").rglob("*.log")
    assert (
        f"TrainingInterrupted: training received {number.name if to == 'group' else 'SIGTERM'} in epoch "
        in log.read_text()
    )
    run = at_work(spoilable, WEIGHTS, "resuming from state-")
    ended(spoilable, run, *send(run, signal.SIGTERM, "snakemake"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_kills_a_job_that_does_not_end(spoilable: Workspace, number: signal.Signals) -> None:
    """A job that is stopped answers no SIGTERM; without the second signal the run would wait a minute for it."""
    spoilable.edit("tiny.yaml", "epochs: 1,", "epochs: 400,")
    run = at_work(spoilable, WEIGHTS, "epoch 2:")
    (job,) = jobs_of(spoilable)
    job.suspend()
    os.kill(run.pid, number)
    time.sleep(SECONDS / 2)
    assert run.poll() is None, "the job was not waited for"
    assert job.is_running()
    ended(spoilable, run, *send(run, number, "snakemake"))
    run = at_work(spoilable, WEIGHTS, "resuming from state-")  # the state of an epoch is older than the kill
    ended(spoilable, run, *send(run, signal.SIGTERM, "snakemake"))


@pytest.mark.parametrize(("number", "to"), ENDS)
def test_a_run_ends_within_seconds_while_it_explains(spoilable: Workspace, number: signal.Signals, to: str) -> None:
    spoilable.edit("tiny.yaml", "{methods: [gradcam]}", "{methods: {gradcam: {}, lime: {options: {samples: 200000}}}}")
    run = at_work(spoilable, MAPS, "device: ")
    time.sleep(1)  # it computes, and is in no import any more
    ended(spoilable, run, *send(run, number, to))
    assert not list((spoilable.folder / "results").rglob("*.tmp"))
    assert not (spoilable.folder / MAPS).exists()
