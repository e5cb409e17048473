"""A real SLURM runs the tiny study: every job with a GPU gets one, what is killed comes back, the numbers are the local ones.

Skipped, with the reason, where SLURM is not installed or a real one is.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest
import slurm_node
import yaml
from test_kill import TABLES, same
from workspace import Workspace, plant

from gradfaith import doctor

pytestmark = pytest.mark.xdist_group("workflow")  # the finished study is made once

EDITS = {
    1: "jobs: 20",
    2: "- slurm_partition=cpu",
    3: "- slurm_account=lab",
    4: "slurm_partition: gpu",
    5: "gpu_model: fake",
}
GPU_RULES = {"train", "predict", "explain", "faithfulness"}
PROFILE = "profiles/slurm/config.yaml"
EPOCHS, STRUCK = 60, 4  # epochs of a training that is struck at this one
SOON = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "20")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm_node.Node]:
    with (Path(tempfile.gettempdir()) / "gradfaith-slurm.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # there is one /etc/slurm, and several workers of pytest
        if why := slurm_node.missing():
            pytest.skip(why)
        node = slurm_node.Node(tmp_path_factory.mktemp("slurm"))
        try:
            node.start()
            yield node
        finally:
            node.stop()


def ready(space: Workspace) -> None:
    """The profile, edited where it says EDIT and nowhere else."""
    file = space.folder / PROFILE
    lines = file.read_text().splitlines()
    for number, line in EDITS.items():
        (place,) = [at for at, text in enumerate(lines) if text.split("# ")[-1].startswith(f"EDIT {number}: ")]
        indent = len(lines[place]) - len(lines[place].lstrip())
        lines[place] = " " * indent + line
    assert not [line for line in lines[1:] if "EDIT" in line]
    file.write_text("\n".join(lines) + "\n")


def of_rule(rule: str) -> list[dict[str, str]]:
    return [job for job in slurm_node.jobs() if f"rule_{rule}/" in job.get("StdOut", "")]


def said_in(space: Workspace, log: str) -> str:
    return (space.folder / "results/tiny/logs" / log).read_text()


def test_a_model_trained_by_slurm_is_the_one_trained_here(slurm: slurm_node.Node, spoilable: Workspace) -> None:
    ready(spoilable)
    results, model = spoilable.folder / "results/tiny", "net-a/seed-0"
    before = pd.read_parquet(results / f"predictions/{model}.parquet").drop(columns="seconds")
    card = json.loads((results / f"models/{model}/card.json").read_text())
    shutil.rmtree(results / f"models/{model}")
    (results / f"predictions/{model}.parquet").unlink()
    spoilable.snakemake("--profile", "profiles/slurm", *SOON, f"results/tiny/predictions/{model}.parquet")
    for rule in ("train", "predict"):
        (job,) = of_rule(rule)
        assert (job["JobState"], job["Partition"], job["TresPerJob"]) == ("COMPLETED", "gpu", "gres:gpu:fake:1")
        assert re.search(
            r"^device: .* \(GPU [01], the scheduler's choice\)$", said_in(spoilable, f"{rule}/net-a_0.log"), re.M
        )
    again = json.loads((results / f"models/{model}/card.json").read_text())
    assert again["weights_sha256"] == card["weights_sha256"]  # one thread here, one thread there: the same bits
    after = pd.read_parquet(results / f"predictions/{model}.parquet").drop(columns="seconds")
    pd.testing.assert_frame_equal(before, after, rtol=1e-6)


def test_the_doctor_asks_the_controller_and_knows_its_partitions(slurm: slurm_node.Node, fresh: Workspace) -> None:
    ready(fresh)
    (found,) = doctor.slurm(fresh.folder)
    assert found.state == "well"
    assert found.found.startswith("the controller answers, executor 2.")
    fresh.edit(PROFILE, "slurm_partition: gpu", "slurm_partition: a100")
    _, found = doctor.slurm(fresh.folder)
    assert (found.state, found.found) == ("broken", "no partition a100")
    assert found.mend.endswith("there are cpu, gpu.")


def harder(space: Workspace) -> None:
    """Cells ride together, one training has too little time at first and one too little memory."""
    file = space.folder / PROFILE
    profile = yaml.safe_load(re.sub(r"^# (group)", r"\1", file.read_text(), flags=re.M))
    assert {"groups", "group-components"} <= set(profile)
    first = "attempt == 1 and wildcards.arch == 'net-b' and wildcards.seed == "
    profile["set-resources"]["train"] = profile["set-resources"]["train"] | {
        "runtime": f"1 if {first}'0' else 30",
        "mem_mb": f"400 if {first}'1' else 2000",
    }
    file.write_text(yaml.safe_dump(profile))


def attempts(model: str) -> list[str]:
    """How the attempts at training a model ended, in their order."""
    return [job["JobState"] for job in of_rule("train") if f"/{model}/" in job["StdOut"]]


def processes(job: str) -> list[psutil.Process]:
    """All of a SLURM job but SLURM's own: its script, and two Snakemakes."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("SLURM_JOB_ID") == job and process.name() != "slurmstepd":
                found.append(process)
    return found


def strike(space: Workspace, model: str) -> bool:
    """Cancel, kill or stop a training that has come so far; the one with too little memory needs no help."""
    log = space.folder / f"results/tiny/logs/train/{model}.log"
    text = log.read_text() if log.is_file() else ""
    if f"epoch {STRUCK}:" not in text:
        return False
    (job,) = [job["JobId"] for job in of_rule("train") if f"/{model}/" in job["StdOut"]]
    if model == "net-a_0":
        subprocess.run(["scancel", job], check=True)
    elif model == "net-a_1":
        for process in processes(job):
            process.kill()
    else:
        os.kill(int(text.split()[1]), signal.SIGSTOP)  # one that hangs runs out of time
    return True


@pytest.mark.slow
def test_a_study_survives_what_happens_to_jobs_on_a_cluster(
    slurm: slurm_node.Node, fresh: Workspace, tmp_path: Path
) -> None:
    fresh.edit("tiny.yaml", "epochs: 1,", f"epochs: {EPOCHS},")
    here = plant(tmp_path / "here")
    shutil.copy(fresh.folder / "tiny.yaml", here.folder)
    here.snakemake()
    ready(fresh)
    harder(fresh)
    before = {job["JobId"] for job in slurm_node.jobs()}
    with (tmp_path / "said").open("w") as said:
        command = fresh.command("--workflow-profile", "slurm", *SOON)
        run = subprocess.Popen(command, cwd=fresh.folder, env=fresh.environment, stdout=said, stderr=said)
        waiting = ["net-a_0", "net-a_1", "net-b_0"]
        try:
            while run.poll() is None:
                waiting = [model for model in waiting if not strike(fresh, model)]
                time.sleep(0.3)
        finally:
            run.kill()
    assert run.returncode == 0, (tmp_path / "said").read_text()[-6000:]
    assert not waiting

    assert attempts("net-a_0") == ["CANCELLED", "COMPLETED"]
    assert attempts("net-a_1") == ["FAILED", "COMPLETED"]
    assert attempts("net-b_0") == ["TIMEOUT", "COMPLETED"]
    assert attempts("net-b_1") in (["FAILED", "COMPLETED"], ["OUT_OF_MEMORY", "COMPLETED"])
    for model in ("net-a_0", "net-a_1", "net-b_0"):  # the log is the last attempt's
        first = re.search(r" epoch (\d+):", said_in(fresh, f"train/{model}.log"))
        assert first is not None
        assert int(first[1]) >= STRUCK, f"{model} began again"
    jobs = [job for job in slurm_node.jobs() if job["JobId"] not in before]
    assert {job["TresPerJob"] for job in jobs if job["Partition"] == "gpu"} == {"gres:gpu:fake:1"}
    assert {job.get("TresPerJob") for job in jobs if job["Partition"] == "cpu"} == {None}
    for rule in GPU_RULES:
        for log in (fresh.folder / f"results/tiny/logs/{rule}").glob("*.log"):
            assert re.search(r"^device: .* \(GPU [01], the scheduler's choice\)$", log.read_text(), re.M), log
    grouped = [job for job in jobs if "group_" in job["StdOut"]]
    assert 0 < len(grouped) < 8 + 8  # cells of maps and of faithfulness
    for table in TABLES:
        same(*(pd.read_parquet(space.folder / f"results/tiny/{table}.parquet") for space in (fresh, here)))
