"""A training killed at random moments goes on where it was: the same weights to the bit, and no finished epoch twice."""

import csv
import random
import signal
from pathlib import Path

import psutil
import pytest
import trainer

from gradfaith.models import checkpoint
from gradfaith.runtime import job

pytestmark = pytest.mark.end_to_end

MOMENTS = ("in write", "before rename", "after rename")
STRUCK = {-number for number in (signal.SIGKILL, *trainer.WARNINGS)}  # or 1: warned in time, and saved once more
ATTEMPTS = 200  # at one training


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same training, never killed."""
    folder = tmp_path_factory.mktemp("unbroken")
    process = trainer.start(folder)
    process.join(300)
    assert process.exitcode == 0, (folder / "log").read_text()
    return folder


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "history.csv").open() as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def was_interrupted(folder: Path) -> bool:
    """Whether the last refusal in the log, three lines, is the one that a warning asks for."""
    return (folder / "log").read_text().splitlines()[-3].startswith("TrainingInterrupted: ")


def broken(folder: Path, draw: random.Random) -> int:
    """Kill one attempt after another until one comes through; how many were killed."""
    kills, seen, reached = 0, [], (0, 0)
    for _ in range(ATTEMPTS):
        die = (draw.choice(MOMENTS), draw.randint(1, 4)) if draw.random() < 0.4 else None
        process = trainer.start(folder, die)
        if die:
            process.join(60)
        struck = die is not None or trainer.kill(process, draw)
        if process.exitcode == 0:
            break
        assert struck, f"it ended before it was struck: {(folder / 'log').read_text()}"
        assert process.exitcode in STRUCK or (process.exitcode == 1 and was_interrupted(folder)), (
            f"exit code {process.exitcode}: {(folder / 'log').read_text()}"
        )
        kills += 1
        kept = trainer.kept(folder)
        history = [{name: value for name, value in row.items() if value is not None} for row in kept["history"]]
        before, reached = reached, (len(history), kept["step"])
        assert reached >= before, "a state was lost"
        assert history[: len(seen)] == seen, "an epoch that was finished was trained again"
        seen = history
    else:
        pytest.fail(f"no attempt of {ATTEMPTS} came through")
    assert rows(folder)[: len(seen)] == seen, "an epoch that was finished was trained again"
    return kills


@pytest.mark.parametrize("wanted", [5, pytest.param(30, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_comes_to_the_same_bits(unbroken: Path, tmp_path: Path, wanted: int) -> None:
    draw, kills, number = random.Random(wanted), 0, 0
    while kills < wanted:
        folder = tmp_path / f"run-{number}"
        kills, number = kills + broken(folder, draw), number + 1
        assert checkpoint.file_sha256(folder / checkpoint.WEIGHTS) == checkpoint.file_sha256(
            unbroken / checkpoint.WEIGHTS
        )
        timed = {"seconds"}
        plain = [
            [{k: v for k, v in row.items() if k not in timed} for row in rows(place)] for place in (folder, unbroken)
        ]
        assert plain[0] == plain[1]
        left = {path.name for path in folder.iterdir()}
        assert left == {"log", "history.csv", checkpoint.WEIGHTS, checkpoint.CARD, "progress"}, "drafts were left"


def test_a_model_that_nobody_accepted_is_written_again_and_no_epoch_trained(tmp_path: Path) -> None:
    outputs = [tmp_path / name for name in (checkpoint.WEIGHTS, "history.csv")]
    seen = []
    for _ in range(2):
        process = trainer.start(tmp_path)
        process.join(300)
        assert process.exitcode == 0, (tmp_path / "log").read_text()
        seen.append([path.read_bytes() for path in outputs])
        for path in outputs:
            path.unlink()
    assert seen[0] == seen[1], "with the seconds of every epoch"
    assert len(list(tmp_path.glob("progress/state-*"))) == 1
    job.discard_training_state(str(tmp_path / checkpoint.CARD))
    assert not (tmp_path / "progress").exists()


def test_a_second_trainer_of_the_same_folder_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    first = trainer.start(tmp_path)
    while not list(tmp_path.glob("progress/state-*")):
        first.join(0.02)
    psutil.Process(first.pid).suspend()  # it lives, and does not end before the second has asked
    second = trainer.start(tmp_path)
    second.join(60)
    assert second.exitcode == 1
    assert f"JobAlive: {tmp_path / 'progress'} is held by process {first.pid} on " in (tmp_path / "log").read_text()
    first.kill()
    first.join()
    third = trainer.start(tmp_path)
    third.join(300)
    assert third.exitcode == 0
    assert "resuming from state-" in (tmp_path / "log").read_text()
