"""A real SLURM runs a study: every job with a GPU gets one, what is killed comes back, the numbers are the local ones.

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

from gradfaith import claim, scheduler

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
STRUCK = 3  # the epoch at whose end a training is struck
STRIKES = {"resnet_0": "CANCELLED", "resnet_1": "OUT_OF_MEMORY", "densenet_0": "TIMEOUT", "densenet_1": "FAILED"}
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
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(claim.PRETEND, "yes")  # sbatch hands the environment on
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


def test_a_model_trained_by_slurm_is_the_one_trained_here(slurm: slurm_node.Node, spoilable: Workspace) -> None:
    ready(spoilable)
    results, model = spoilable.results, "net-a/seed-0"
    before = pd.read_parquet(results / f"predictions/{model}.parquet").drop(columns="seconds")
    card = json.loads((results / f"models/{model}/card.json").read_text())
    shutil.rmtree(results / f"models/{model}")
    (results / f"predictions/{model}.parquet").unlink()
    spoilable.snakemake("--profile", "profiles/slurm", *SOON, f"results/tiny/predictions/{model}.parquet")
    for rule in ("train", "predict"):
        (job,) = of_rule(rule)
        assert (job["JobState"], job["Partition"], job["TresPerJob"]) == ("COMPLETED", "gpu", "gres:gpu:fake:1")
        log = (results / f"logs/{rule}/net-a_0.log").read_text()
        assert re.search(r"^device: .* \(GPU [01], the scheduler's choice\)$", log, re.M)
    again = json.loads((results / f"models/{model}/card.json").read_text())
    assert again["weights_sha256"] == card["weights_sha256"]  # one thread here, one thread there: the same bits
    after = pd.read_parquet(results / f"predictions/{model}.parquet").drop(columns="seconds")
    pd.testing.assert_frame_equal(before, after, rtol=1e-6)


def test_the_doctor_asks_the_controller_and_knows_its_partitions(slurm: slurm_node.Node, fresh: Workspace) -> None:
    ready(fresh)
    (found,) = scheduler.examine(fresh.folder)
    assert found.state == "well"
    assert found.found.startswith("the controller answers, executor 2.")
    fresh.edit(PROFILE, "slurm_partition: gpu", "slurm_partition: a100")
    _, found = scheduler.examine(fresh.folder)
    assert (found.state, found.found) == ("broken", "no partition a100")
    assert found.mend.endswith("there are cpu, gpu.")


def embedded(folder: Path) -> Workspace:
    return Workspace(plant(folder).folder, "config/config.yaml")


def harder(space: Workspace) -> None:
    """Cells ride together, and one training has little time at first."""
    file = space.folder / PROFILE
    profile = yaml.safe_load(re.sub(r"^# (group)", r"\1", file.read_text(), flags=re.M))
    assert {"groups", "group-components"} <= set(profile)
    short = "attempt == 1 and wildcards.arch == 'densenet' and wildcards.seed == '0'"
    profile["set-resources"]["train"] = profile["set-resources"]["train"] | {"runtime": f"2 if {short} else 30"}
    file.write_text(yaml.safe_dump(profile))


def leaky(folder: Path) -> str:
    """A PYTHONPATH on which every Python takes three GB, and keeps them, when SIGUSR2 comes."""
    (folder / "sitecustomize.py").write_text(
        "import signal\nkept = []\nsignal.signal(signal.SIGUSR2, lambda *_: kept.append(b'.' * (3 << 30)))\n"
    )
    return str(folder)


def attempts(model: str, key: str = "JobState") -> list[str]:
    """What SLURM says of the attempts at training a model, in their order."""
    return [job[key] for job in of_rule("train") if f"/{model}/" in job["StdOut"]]


def processes(job: str) -> list[psutil.Process]:
    """All of a SLURM job but SLURM's own: its script, and two Snakemakes."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("SLURM_JOB_ID") == job and process.name() != "slurmstepd":
                found.append(process)
    return found


def strike(space: Workspace, model: str) -> bool:
    """What befalls a training that has come so far."""
    log = space.results / f"logs/train/{model}.log"
    text = log.read_text() if log.is_file() else ""
    if f"epoch {STRUCK}:" not in text:
        return False
    (job,), trainer = attempts(model, "JobId"), int(text.split()[1])
    match STRIKES[model]:
        case "CANCELLED":
            subprocess.run(["scancel", job], check=True)
        case "FAILED":
            for process in processes(job):
                process.kill()
        case "TIMEOUT":
            os.kill(trainer, signal.SIGSTOP)  # one that hangs runs out of time
        case "OUT_OF_MEMORY":
            os.kill(trainer, signal.SIGUSR2)
    return True


def evidence(jobs: list[dict[str, str]]) -> str:
    """A line per SLURM job, for a person to read."""
    keys = ("JobId", "JobState", "ExitCode", "Partition", "TresPerJob", "RunTime", "TimeLimit", "MinMemoryNode")
    lines = (
        " ".join((*(job.get(key, "-") for key in keys), job["StdOut"].partition("slurm_logs/")[2])) for job in jobs
    )
    return "\n".join((" ".join(keys), *lines))


@pytest.mark.slow
def test_the_embedded_study_survives_what_happens_to_jobs_on_a_cluster(slurm: slurm_node.Node, tmp_path: Path) -> None:
    here, there = embedded(tmp_path / "here"), embedded(tmp_path / "there")
    here.snakemake()
    ready(there)
    harder(there)
    before = {job["JobId"] for job in slurm_node.jobs()}
    with (tmp_path / "said").open("w") as said:
        command = there.command("--profile", "profiles/slurm", *SOON)
        environment = there.environment | {"PYTHONPATH": leaky(tmp_path)}
        run = subprocess.Popen(command, cwd=there.folder, env=environment, stdout=said, stderr=said)
        waiting = list(STRIKES)
        try:
            while run.poll() is None:
                waiting = [model for model in waiting if not strike(there, model)]
                time.sleep(0.3)
        finally:
            run.kill()
    jobs = [job for job in slurm_node.jobs() if job["JobId"] not in before]
    (tmp_path / "scheduler.txt").write_text(evidence(jobs))
    assert run.returncode == 0, (tmp_path / "said").read_text()[-6000:]
    assert not waiting

    for model, end in STRIKES.items():
        first, second = attempts(model)
        assert first in {end, "FAILED"} if end == "OUT_OF_MEMORY" else first == end, model
        assert second == "COMPLETED"
        began = re.search(
            r" epoch (\d+):", (there.results / f"logs/train/{model}.log").read_text()
        )  # the last attempt's
        assert began is not None
        assert int(began[1]) > STRUCK, f"{model} began again"
    assert attempts("resnet_1", "MinMemoryNode") == ["2000M", "4000M"]
    assert "Exceeded job memory limit" in Path(attempts("resnet_1", "StdOut")[0]).read_text()
    assert {job["TresPerJob"] for job in jobs if job["Partition"] == "gpu"} == {"gres:gpu:fake:1"}
    assert {job.get("TresPerJob") for job in jobs if job["Partition"] == "cpu"} == {None}
    for rule in GPU_RULES:
        logs = list((there.results / f"logs/{rule}").glob("*.log"))
        assert logs
        for log in logs:
            assert re.search(r"^device: .* \(GPU [01], the scheduler's choice\)$", log.read_text(), re.M), log
    grouped = [job for job in jobs if "group_" in job["StdOut"]]
    assert 0 < len(grouped) < 12 + 12  # cells of maps and of faithfulness
    for table in TABLES:
        same(*(pd.read_parquet(space.results / f"{table}.parquet") for space in (there, here)))
