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
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
import psutil
import pytest
import slurm_node
import yaml
from test_job_errors import AROUND, printed
from test_kill import TABLES, same, wait_for
from test_table_study import plant_table
from workspace import TINY, Workspace, plant

from gradfaith.cli import slurm_profile
from gradfaith.cli.doctor import slurm as slurm_doctor
from gradfaith.dag.job_work import RULES_OF_TABLES
from gradfaith.runtime import gpu_slots

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("slurm")]  # there is one SLURM

PROFILE = "profiles/slurm/config.yaml"
STRUCK = 3  # the epoch at whose end a training is struck
FATES = ("CANCELLED", "OUT_OF_MEMORY", "TIMEOUT", "FAILED")
TRAINED = "results/tiny/models/net-a/seed-0/weights.safetensors"
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
                patch.setenv(gpu_slots.PRETEND_VARIABLE, "yes")  # sbatch hands the environment on
                yield node
        finally:
            node.stop()


def ready(space: Workspace) -> None:
    """The profile, as `gradfaith init --profile slurm` writes it here."""
    slurm_profile.write_profile(space.folder)
    profile = yaml.safe_load((space.folder / PROFILE).read_text())
    assert profile["default-resources"] == ["slurm_partition='cpu'"]
    assert profile["set-resources"]["train"] == {"gpu": 1, "slurm_partition": "gpu", "gpu_model": "fake"}


def of_rule(rule: str) -> list[dict[str, str]]:
    return [job for job in slurm_node.jobs() if f"rule_{rule}/" in job.get("StdOut", "")]


def test_the_doctor_asks_the_controller_and_knows_its_partitions(slurm: slurm_node.Node, fresh: Workspace) -> None:
    ready(fresh)
    (found,) = slurm_doctor.check_slurm(fresh.folder)
    assert found.state == "well"
    assert found.found.startswith("the controller answers, executor 2.")
    rules = list(slurm_doctor.check_profile("slurm", TINY, fresh.folder))
    assert {finding.state for finding in rules if finding.check != "profile"} == {"well"}
    assert any(", 1 fake GPU in partition gpu" in finding.found for finding in rules if finding.check == "rule train")
    fresh.edit(PROFILE, "slurm_partition: gpu", "slurm_partition: a100")
    _, found = slurm_doctor.check_slurm(fresh.folder)
    assert (found.state, found.found) == ("broken", f"{PROFILE} names no partition a100")
    assert found.fix.endswith("there are cpu, gpu.")


def harder(space: Workspace, late: list[str]) -> None:
    """Cells ride together, and these trainings have little time at first."""
    file = space.folder / PROFILE
    profile = yaml.safe_load(re.sub(r"^# (group)", r"\1", file.read_text(), flags=re.M))
    assert {"groups", "group-components"} <= set(profile)
    short = f"attempt == 1 and wildcards.arch + '/seed-' + wildcards.seed in {late}"
    profile["set-resources"]["train"] = profile["set-resources"]["train"] | {"runtime": f"2 if {short} else 30"}
    file.write_text(yaml.safe_dump(profile))


def leaky(folder: Path) -> str:
    """A PYTHONPATH on which every Python takes three GB, and keeps them, when SIGUSR2 comes."""
    (folder / "sitecustomize.py").write_text(
        "import signal\nkept = []\nsignal.signal(signal.SIGUSR2, lambda *_: kept.append(b'.' * (3 << 30)))\n"
    )
    return str(folder)


def attempts(model: str, key: str = "JobState", *, since: int = 0) -> list[str]:
    """What SLURM says of the attempts at training a model, in their order."""
    folder = model.replace("/seed-", "_")  # as the executor joins wildcards
    return [job[key] for job in of_rule("train") if f"/{folder}/" in job["StdOut"] and int(job["JobId"]) > since]


def processes(job: str) -> list[psutil.Process]:
    """All of a SLURM job but SLURM's own: its script, and two Snakemakes."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("SLURM_JOB_ID") == job and process.name() != "slurmstepd":
                found.append(process)
    return found


def strike(space: Workspace, model: str, fate: str) -> bool:
    """What befalls a training that has come so far."""
    log = space.results / f"logs/train/{model}.log"
    text = log.read_text() if log.is_file() else ""
    if f"epoch {STRUCK}:" not in text:
        return False
    job, trainer = attempts(model, "JobId")[-1], int(text.split()[1])
    match fate:
        case "CANCELLED":
            subprocess.run(["scancel", job], check=True)
        case "FAILED":
            for process in processes(job):
                with contextlib.suppress(psutil.NoSuchProcess):  # gone with its parent
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


def under_fire(space: Workspace, fates: Mapping[str, str], folder: Path, *targets: str) -> list[dict[str, str]]:
    """A run on SLURM in which every one of these trainings is struck once: all come back, and go on. Returns its jobs."""
    ready(space)
    harder(space, [model for model, fate in fates.items() if fate == "TIMEOUT"])
    last = max((int(job["JobId"]) for job in slurm_node.jobs()), default=0)
    with (folder / "said").open("w") as said:
        command = space.command("--profile", "profiles/slurm", *SOON, *targets)
        environment = space.environment | {"PYTHONPATH": leaky(folder)}
        run = subprocess.Popen(command, cwd=space.folder, env=environment, stdout=said, stderr=said)
        waiting = dict(fates)
        try:
            while run.poll() is None:
                waiting = {model: fate for model, fate in waiting.items() if not strike(space, model, fate)}
                time.sleep(0.3)
        finally:
            run.kill()
    jobs = [job for job in slurm_node.jobs() if int(job["JobId"]) > last]
    (folder / "scheduler.txt").write_text(evidence(jobs))
    assert run.returncode == 0, (folder / "said").read_text()[-6000:]
    assert not waiting
    for model, fate in fates.items():
        first, second = attempts(model, since=last)
        assert first in {fate, "FAILED"} if fate == "OUT_OF_MEMORY" else first == fate, model
        assert second == "COMPLETED"
        assert attempts(model, "MinMemoryNode", since=last) == ["2000M", "4000M"]
        log = (space.results / f"logs/train/{model}.log").read_text()  # the last attempt's
        began = re.search(r" epoch (\d+):", log)
        assert began is not None
        assert int(began[1]) > STRUCK, f"{model} began again"
        if fate == "OUT_OF_MEMORY":
            own = attempts(model, "StdOut", since=last)[0]
            assert "Exceeded job memory limit" in Path(own).read_text()
    return jobs


def given_one_gpu(space: Workspace, jobs: list[dict[str, str]], rules: set[str]) -> None:
    """Every job of these rules was scheduled with one, and saw one; the others had none."""
    assert {job["TresPerJob"] for job in jobs if job["Partition"] == "gpu"} == {"gres:gpu:fake:1"}
    assert {job.get("TresPerJob") for job in jobs if job["Partition"] == "cpu"} <= {None}
    for rule in rules:
        logs = list((space.results / f"logs/{rule}").glob("**/*.log"))
        assert logs
        for log in logs:
            assert re.search(r"^device: .* \(GPU [01], the scheduler's choice\)$", log.read_text(), re.M), log


def test_trainings_go_on_after_whatever_ends_them(slurm: slurm_node.Node, fresh: Workspace, tmp_path: Path) -> None:
    """One thread here, one thread there: the same bits. A time limit takes minutes: it is the slow test's."""
    fresh.edit(TINY, "epochs: 1,", "epochs: 100,")
    models = ("net-a/seed-0", "net-a/seed-1", "net-b/seed-1")
    answers = [f"results/tiny/predictions/{model}.parquet" for model in models]
    fresh.snakemake(*answers)
    there = Workspace(tmp_path / "there")
    shutil.copytree(fresh.folder, there.folder, symlinks=True)  # with the data, which are no matter of a GPU
    for made in ("models", "predictions", "logs"):
        shutil.rmtree(there.results / made)
    fates = dict(zip(models, ("CANCELLED", "OUT_OF_MEMORY", "FAILED"), strict=True))
    jobs = under_fire(there, fates, tmp_path, *answers)
    given_one_gpu(there, jobs, {"train", "predict"})
    for model, answer in zip(models, answers, strict=True):
        cards = [json.loads((space.results / f"models/{model}/card.json").read_text()) for space in (fresh, there)]
        assert cards[0]["weights_sha256"] == cards[1]["weights_sha256"]
        same(*(pd.read_parquet(space.folder / answer).drop(columns="seconds") for space in (fresh, there)))


def test_a_wrong_input_is_told_once_and_submitted_once(slurm: slurm_node.Node, fresh: Workspace) -> None:
    fresh.snakemake("results/tiny/data/leakage.json")
    (fresh.folder / "mine.pth").write_bytes(b"no weights")
    fresh.edit(TINY, "net-a: {timm:", "net-a: {weights: mine.pth, timm:")
    ready(fresh)
    last = max((int(job["JobId"]) for job in slurm_node.jobs()), default=0)
    text = printed(fresh, "--profile", "profiles/slurm", *SOON, TRAINED)
    assert text.count("ModelUnusable: mine.pth cannot be read as weights: ") == 1
    assert not [words for words in (*AROUND, "Trying to restart job") if words in text]
    assert len(attempts("net-a_0", since=last)) == 1


def test_sigterm_cancels_what_was_submitted_and_a_training_keeps_its_state(
    slurm: slurm_node.Node, fresh: Workspace, tmp_path: Path
) -> None:
    fresh.edit(TINY, "epochs: 1,", "epochs: 4000,")
    fresh.snakemake("results/tiny/data/leakage.json")
    ready(fresh)
    logs = fresh.folder / "results/tiny/logs/train"
    with (tmp_path / "said").open("w") as said:
        command = fresh.command("--profile", "profiles/slurm", *SOON, TRAINED)
        run = subprocess.Popen(command, cwd=fresh.folder, env=fresh.environment, stdout=said, stderr=said)
        try:
            assert wait_for(lambda: any("epoch 2:" in log.read_text() for log in logs.rglob("*.log")), 180)
            start = time.monotonic()
            run.send_signal(signal.SIGTERM)
            assert run.wait(60) == 1
            assert time.monotonic() - start < 30  # the executor's thread sleeps between two looks at the queue
        finally:
            run.kill()
    assert wait_for(lambda: attempts("net-a_0")[-1] == "CANCELLED", 30)
    (log,) = logs.rglob("*.log")
    assert wait_for(lambda: "TrainingInterrupted: training received SIGTERM in epoch" in log.read_text(), 30)
    assert not list((fresh.folder / ".snakemake/locks").glob("*"))
    text = (tmp_path / "said").read_text()
    assert not [words for words in (*AROUND, "Trying to restart job") if words in text]


def test_claims_are_submitted_and_the_verdict_is_made_on_this_machine(
    slurm: slurm_node.Node, spoilable: Workspace
) -> None:
    with (spoilable.folder / TINY).open("a") as file:
        file.write("claims: {mine: {says: Grad-CAM finds it, metric: saliency_score, method: gradcam, margin: 0.5}}\n")
    verdict = spoilable.results / "verdict.json"
    before = json.loads(verdict.read_text())["methods"]
    verdict.unlink()
    ready(spoilable)
    last = max((int(job["JobId"]) for job in slurm_node.jobs()), default=0)
    spoilable.snakemake(
        "--profile", "profiles/slurm", *SOON, "results/tiny/claims.parquet", "results/tiny/verdict.json"
    )
    own = [job for job in of_rule("claims") if int(job["JobId"]) > last]
    assert [(job["JobState"], job["Partition"]) for job in own] == [("COMPLETED", "cpu")]
    assert not [job for job in of_rule("verdict") if int(job["JobId"]) > last]
    assert json.loads(verdict.read_text())["methods"] == before


def test_the_rules_of_tables_are_submitted_and_get_no_gpu(slurm: slurm_node.Node, tmp_path: Path) -> None:
    space = plant_table(tmp_path / "tables")
    ready(space)
    last = max((int(job["JobId"]) for job in slurm_node.jobs()), default=0)
    scores = space.results / "scores/table/linear.parquet"
    space.snakemake("--profile", "profiles/slurm", *SOON, scores.relative_to(space.folder).as_posix())
    for rule in RULES_OF_TABLES:
        (job,) = [job for job in of_rule(rule) if int(job["JobId"]) > last]
        assert (job["JobState"], job["Partition"], job.get("TresPerJob")) == ("COMPLETED", "cpu", None), rule
    assert set(pd.read_parquet(scores)["metric"]) >= {"removal_gap", "exact_correlation"}


@pytest.mark.slow
def test_the_embedded_study_survives_what_happens_to_jobs_on_a_cluster(slurm: slurm_node.Node, tmp_path: Path) -> None:
    here, there = (Workspace(plant(tmp_path / name).folder, "config/config.yaml") for name in ("here", "there"))
    here.snakemake()
    trained = [f"{arch}/seed-{seed}" for arch in ("resnet", "densenet") for seed in (0, 1)]
    fates = dict(zip(trained, FATES, strict=True))
    jobs = under_fire(there, fates, tmp_path)
    given_one_gpu(there, jobs, {"train", "predict", "explain", "faithfulness"})
    grouped = [job for job in jobs if "group_" in job["StdOut"]]
    assert 0 < len(grouped) < 12 + 12  # cells of maps and of faithfulness
    for table in TABLES:
        same(*(pd.read_parquet(space.results / f"{table}.parquet") for space in (there, here)))
