"""The scheduler's warning in a real run: the trainer keeps its state and ends, and Snakemake's next attempt goes on from there."""

import csv
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from test_kill import gradfaith, jobs_of, start, wait_for
from workspace import Workspace

pytestmark = pytest.mark.end_to_end

MODEL = "results/tiny/models/net-a/seed-0"


def trainers(space: Workspace) -> list[int]:
    return [job.pid for job in jobs_of(space) if any("train.py" in word for word in job.cmdline())]


def training(space: Workspace) -> tuple[subprocess.Popen[bytes], Path]:
    """Snakemake at work on a model that has two epochs behind it, and the trainer's log."""
    space.edit("tiny.yaml", "epochs: 1,", "epochs: 12,")
    run = start(space, f"{MODEL}/weights.safetensors")
    states = space.folder / MODEL / "progress"
    assert wait_for(lambda: len(list(states.glob("state-*"))) == 2, 300), "no state was kept"
    return run, space.folder / "results/tiny/logs/train/net-a/seed-0.log"


def test_a_warned_training_is_tried_again_and_goes_on(fresh: Workspace) -> None:
    run, log = training(fresh)
    warned = trainers(fresh)
    os.kill(warned[0], signal.SIGTERM)
    assert wait_for(lambda: trainers(fresh) != warned, 60), "the warned trainer lived on"
    assert run.wait(300) == 0
    said = log.read_text()
    assert re.search(r"resuming from state-\d{6}-", said)
    told = [int(number) for number in re.findall(r"epoch (\d+):", said)]
    assert told[0] > 1, "the first epoch was trained again"
    with (fresh.folder / MODEL / "history.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(1, 13))
    assert told == list(range(told[0], 13))
    outputs = {"card.json", "history.csv", "weights.safetensors"}
    assert {path.name for path in Path(fresh.folder / MODEL).iterdir()} == outputs | {"progress"}
    weights, answers = fresh.folder / MODEL / "weights.safetensors", "results/tiny/predictions/net-a/seed-0.parquet"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert "SHA-256" in fresh.snakemake(answers, check=False).stderr
    assert (fresh.folder / MODEL / "progress").is_dir(), "with the state a torn model can be written again"
    weights.write_bytes(whole)
    fresh.snakemake(answers)
    assert {path.name for path in Path(fresh.folder / MODEL).iterdir()} == outputs, "the model is accepted"


def test_a_training_whose_snakemake_was_killed_keeps_its_state_and_ends(fresh: Workspace) -> None:
    run, log = training(fresh)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert wait_for(lambda: not jobs_of(fresh), 30), "the trainer outlived its Snakemake"
    assert "TrainingInterrupted: training received SIGTERM in epoch" in log.read_text()
    unlocked = gradfaith(fresh, "unlock")
    assert unlocked.returncode == 0, unlocked.stderr
    fresh.snakemake(f"{MODEL}/weights.safetensors")
    assert "resuming from state-" in log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_a_terminal_s_signal_reaches_all_and_the_trainer_keeps_its_state(
    fresh: Workspace, number: signal.Signals
) -> None:
    """Ctrl-C, and a connection that is lost: both go to Snakemake and to all that it started."""
    run, log = training(fresh)
    os.killpg(run.pid, number)
    run.wait(60)
    assert wait_for(lambda: not jobs_of(fresh), 30), "the trainer outlived its Snakemake"
    assert f"TrainingInterrupted: training received {number.name} in epoch" in log.read_text()
    gradfaith(fresh, "unlock")
    fresh.snakemake(f"{MODEL}/weights.safetensors")
    assert "resuming from state-" in log.read_text()
    (first,) = log.parent.glob("seed-0.attempt-*")
    assert "TrainingInterrupted" in first.read_text(), "what it said stays when the log begins anew"
