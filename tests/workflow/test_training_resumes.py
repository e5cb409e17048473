"""The scheduler's warning in a real run: the trainer keeps its state and ends, and Snakemake's next attempt goes on from there."""

import csv
import os
import re
import signal
from pathlib import Path

from test_kill import jobs_of, start, wait_for
from workspace import Workspace

MODEL = "results/tiny/models/net-a/seed-0"


def trainers(space: Workspace) -> list[int]:
    return [job.pid for job in jobs_of(space) if any("train.py" in word for word in job.cmdline())]


def test_a_warned_training_is_tried_again_and_goes_on(fresh: Workspace) -> None:
    fresh.edit("tiny.yaml", "epochs: 1,", "epochs: 12,")
    with (fresh.folder / "tiny.yaml").open("a") as file:
        file.write("compute: {save_seconds: 1}\n")
    run = start(fresh, f"{MODEL}/weights.safetensors")
    log, states = fresh.folder / "results/tiny/logs/train/net-a_0.log", fresh.folder / MODEL / "progress"
    assert wait_for(lambda: len(list(states.glob("state-*"))) == 2, 300), "no state was kept"
    warned = trainers(fresh)
    os.kill(warned[0], signal.SIGTERM)
    assert wait_for(lambda: trainers(fresh) != warned, 60), "the warned trainer lived on"
    assert run.wait(300) == 0
    said = log.read_text()
    assert re.search(r"continuing from state-\d{6}-", said)
    told = [int(number) for number in re.findall(r"epoch (\d+):", said)]
    assert told[0] > 1, "the first epoch was trained again"
    with (fresh.folder / MODEL / "history.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(1, 13))
    assert told == list(range(told[0], 13))
    assert sorted(path.name for path in Path(fresh.folder / MODEL).iterdir()) == [
        "card.json", "history.csv", "weights.safetensors",
    ]  # fmt: skip
