"""What `gradfaith run` says while Snakemake works: jobs, seconds, epochs, the time left, in the room that there is."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gradfaith.cli import run_progress, study_run
from gradfaith.cli.run_progress import RunProgress
from gradfaith.dag.plan import Plan
from gradfaith.runtime.job_record import JobRecord, JobWork
from gradfaith.storage import parquet

NETWORK = "test_resnet.r160_in1k"


def job(jobid: int, rule: str, **wildcards: str) -> dict[str, Any]:
    log = f"results/tiny/logs/{rule}/{'-'.join(wildcards.values())}.log"
    return {
        "job": {
            "jobid": jobid,
            "rule_name": rule,
            "wildcards": wildcards,
            "output": [] if rule == "all" else ["x"],
            "log": [log],
            "threads": 1,
        }
    }


@pytest.fixture
def progress(root: Path, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunProgress:
    plan = Plan.read(tiny | {"training": tiny["training"] | {"epochs": 8}}, root)
    monkeypatch.chdir(tmp_path)
    return RunProgress(plan, tmp_path)


def finish_training(progress: RunProgress, seconds: float, arch: str, seed: int) -> None:
    """Leave the record of a finished training of `arch`, as the job itself would."""
    network = progress.plan.study.architectures[arch].timm or ""
    units = (8 * (3 * 36 + 18)) * 64**2
    record = JobRecord("train", {}, seconds, 2.0, 0.0, 300, 1000, "cpu", 1, JobWork(units, 1, network, 64))
    file = progress.root / f"results/tiny/logs/train/{arch}_{seed}.job.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(record)))


def test_a_job_that_ends_is_a_line_and_a_target_is_none(progress: RunProgress) -> None:
    assert progress.receive({"total": 3, "rules": {"all": 1, "predict": 2}}) == ["2 jobs to run"]
    assert progress.receive(job(1, "predict", arch="net-a", seed="0")) == []
    assert progress.receive(job(2, "all")) == []
    (line,) = progress.receive({"finished": 1})
    assert line.split() == ["1/2", "0.0", "s", "predict", "net-a,", "seed", "0"]
    assert progress.receive({"finished": 2}) == []
    assert progress.done == 1


def test_a_failed_job_is_named_once_and_a_second_attempt_takes_it_back(progress: RunProgress) -> None:
    progress.receive({"total": 1, "rules": {"train": 1}})
    progress.receive(job(7, "train", arch="net-a", seed="0"))
    assert progress.receive({"failed": 7}) == ["FAILED after 0.0 s: train net-a, seed 0"]
    assert progress.receive({"text": "Error in rule train:\n    jobid: 7"}) == ["Error in rule train:", "    jobid: 7"]
    assert progress.status().startswith("1 failed | ")
    progress.receive(job(7, "train", arch="net-a", seed="0"))
    assert "failed" not in progress.status()


def test_the_status_shows_epochs_and_fits_the_columns(progress: RunProgress) -> None:
    progress.receive({"total": 2, "rules": {"train": 2}})
    for seed in ("0", "1"):
        progress.receive(job(int(seed), "train", arch="net-a", seed=seed))
        log = progress.root / f"results/tiny/logs/train/net-a-{seed}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(f"10:00:0{n} epoch {n}: train loss 1.0\n" for n in range(1, 4 + int(seed))))
    assert progress.status().endswith("train net-a, seed 0, epoch 3/8, train net-a, seed 1, epoch 4/8")
    assert progress.status(60).endswith("train net-a, seed 0, epoch 3/8, 1 more")
    assert progress.status(45) == "time left unknown | 2 train, epoch 3/8"


def test_the_time_left_is_from_finished_jobs_and_says_what_it_does_not_cover(progress: RunProgress) -> None:
    progress.receive({"total": 4, "rules": {"train": 4, "estimate": 1}})
    assert progress.time_left() == (0.0, ["train", "estimate"])  # no record, and no split to count images in
    parts = ["train"] * 36 + ["val"] * 18 + ["test"] * 18
    splits = pd.DataFrame({"image_id": [str(n) for n in range(72)], "part": parts})
    parquet.write(progress.root / progress.plan.paths.splits, splits, parquet.SPLITS)
    finish_training(progress, 18.0, "net-a", 0)
    progress.seconds._known.clear()
    assert progress.time_left()[1] == ["train", "estimate"]  # of net-b nothing is known
    finish_training(progress, 38.0, "net-b", 0)
    progress.seconds._known.clear()
    assert progress.time_left() == (pytest.approx(4 * 30.0), ["estimate"])
    assert "at least 2 min left" in progress.status()
    for seed in range(2):
        progress.receive(job(seed, "train", arch="net-a", seed=str(seed)))
    assert progress.time_left()[0] == pytest.approx(2 * 30.0, abs=1)  # two at once


@pytest.mark.parametrize(
    ("seconds", "exact", "rough"),
    [
        (3.14, "3.1 s", "3 s"),
        (125, "2 min 05 s", "2 min"),
        (59.7, "1 min 00 s", "1 min"),
        (7500, "2 h 05 min", "2 h 05 min"),
    ],
)
def test_durations_are_in_units_that_a_person_reads(seconds: float, exact: str, rough: str) -> None:
    assert run_progress.format_seconds(seconds) == exact
    assert run_progress.format_seconds(seconds, rough=True) == rough


def test_a_table_loses_its_intervals_before_its_columns_are_cut(tmp_path: Path) -> None:
    file = tmp_path / "maps.md"
    file.write_text(
        "# Maps, tiny\n\n| method | Area\\_IoU |\n| --- | --- |\n| gradcam | 0.56 [0.09, 1.04]<sup>a</sup> |\n| random-grid | 0.02 [0.00, 0.05] |\n"
        "\n<sup>a</sup> few\n"
    )
    wide = study_run.format_markdown(file, 80, Path("maps.md"))
    assert wide[:5] == [
        "Maps, tiny",
        "",
        "method       Area_IoU",
        "gradcam      0.56 [0.09, 1.04] (a)",
        "random-grid  0.02 [0.00, 0.05]",
    ]
    narrow = study_run.format_markdown(file, 24, Path("maps.md"))
    assert narrow[3:6] == ["gradcam      0.56 (a)", "random-grid  0.02", "(too wide here for its i..."[:21] + "..."]
    assert max(map(len, study_run.format_markdown(file, 15, Path("maps.md")))) <= 15
