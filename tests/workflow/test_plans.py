"""What would run: the paper's study, a study on a base, and what building their graphs costs."""

import importlib.util
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from types import ModuleType

import pandas as pd
import pytest
import yaml
from workspace import ROOT, TINY, Workspace

from gradfaith.cli import snakemake_process
from gradfaith.cli.cost import forecast
from gradfaith.dag import job_work
from gradfaith.dag.plan import Plan
from gradfaith.runtime import job_record

pytestmark = pytest.mark.xdist_group("workflow")  # the finished study is made once

PAPER = "config/studies/paper.yaml"


def test_the_papers_study_builds_before_its_images_are_there(fresh: Workspace):
    command = [sys.executable, "-X", "importtime", "-m", "snakemake", "-n", "--configfile", PAPER]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=fresh.folder, env=fresh.environment, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    models, bundles = 5 * 5, 2
    for rule, count in {
        "fetch": 1,
        "group": 1,
        "weights": 5,
        "train": models,
        "explain": models * bundles,
        "faithfulness": models * bundles,
        "agreement": 5,
    }.items():
        row = next(
            line.split() for line in done.stdout.splitlines() if line.split()[:1] == [rule] and len(line.split()) == 2
        )
        assert int(row[1]) == count
    assert "| torch" not in done.stderr, "torch was imported while the graph was built"
    assert seconds < 20, "far above the few seconds it takes on an idle machine"


def test_the_snakefile_of_the_workflow_catalogue_plans_the_same(fresh: Workspace):
    own, catalogue = fresh.planned(), fresh.planned("--snakefile", "workflow/Snakefile")
    assert catalogue.pop("everything") == 1
    assert catalogue == own
    assert own["train"] == 4


@pytest.mark.end_to_end
def test_a_study_on_a_base_takes_its_models_and_adds_cells_of_its_own(spoilable: Workspace):
    document = yaml.safe_load((spoilable.folder / "tiny.yaml").read_text())
    (spoilable.folder / "config/studies/tiny.yaml").write_text(yaml.safe_dump(document))
    own = {
        "bundles": {"late": {"methods": {"gradcam": {"layer": {"net-a": "layer3", "net-b": "blocks.2"}}}}},
        "batteries": {"ranking": {"metrics": ["road"], "imputers": ["noisy_linear"]}},
        "primary": {"metric": "road", "method": "gradcam", "against": "random-grid"},
        "explain": {"max_images": 4},
        "statistics": document["statistics"],
    }
    (spoilable.folder / "tiny.yaml").write_text(yaml.safe_dump({"study": "layers", "base": "tiny", **own}))
    planned = spoilable.planned()
    assert not {"index", "split", "pack_images", "train", "predict"} & set(planned)
    assert planned["explain"] == planned["faithfulness"] == 4 * 2
    spoilable.snakemake("--until", "merge_scores")
    results = spoilable.folder / "results/layers"
    assert (results / "maps/net-a/seed-0/late.h5").exists()
    assert not (results / "models").exists()
    curves, scores = (pd.read_parquet(results / f"{kind}.parquet") for kind in ("curves", "scores"))
    assert set(curves["order"]) == {"most", "least"}
    assert set(curves["fraction"]) == {0.2, 0.4, 0.6, 0.8}
    assert {"gradcam", "shuffled-gradcam", "random-grid"} <= set(curves["method"])
    cell = ["arch", "seed", "method", "image_id"]
    points = curves.pivot_table(index=cell, columns="order", values="probability", aggfunc="mean")
    found = scores[(scores["status"] == "ok") & (scores["copy"] == 0)].set_index(cell)["value"]
    assert (points["least"] - points["most"]).loc[found.index].sub(found).abs().max() < 1e-6


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """benchmarks/plan.py, whose goals are of an idle machine and whose seconds of computing hold on a busy one."""
    found = importlib.util.spec_from_file_location("plan_benchmark", ROOT / "benchmarks/plan.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


def test_a_study_of_two_thousand_jobs_builds_within_its_bounds(benchmark: ModuleType):
    took, jobs = benchmark.dry_run(benchmark.study(10, 10, 8))
    models, bundles = 10 * 10, 8 + 1
    assert jobs >= 3 * models + 2 * models * bundles  # train, predict, localization; explain, faithfulness
    assert took.computing < 30
    assert took.memory < 600


def test_a_finished_study_is_found_finished_within_seconds(benchmark: ModuleType, finished: Workspace):
    took = benchmark.measured("-n", "--configfile", TINY, folder=finished.folder)
    assert "Nothing to be done" in took.said
    assert took.computing < 5


def test_the_group_settings_of_the_slurm_profile_are_read(fresh: Workspace):
    """They stand in comments; with the signs taken away the profile is still one that Snakemake takes."""
    profile = fresh.folder / "profiles/slurm/config.yaml"
    text = re.sub(r"^# (group)", r"\1", profile.read_text(), flags=re.M)
    assert {"groups", "group-components"} <= set(yaml.safe_load(text))
    profile.write_text(text)
    assert fresh.planned("--workflow-profile", "slurm") == fresh.planned()


def test_every_job_of_a_run_left_its_record_with_the_work_that_cost_counts(
    finished: Workspace, monkeypatch: pytest.MonkeyPatch
):
    """The jobs are those of the DAG, as Snakemake lists them, and all are done."""
    monkeypatch.chdir(finished.folder)
    plan = Plan.read(yaml.safe_load((finished.folder / TINY).read_text()), finished.folder)
    counts = job_work.count_images(plan)
    assert counts is not None
    work = job_work.StudyWork(plan, counts, job_work.read_parameters(plan))
    records, notes = job_record.read_records(finished.folder)
    recorded = {(record.rule, *sorted(record.wildcards.items())): record for record in records}
    jobs = snakemake_process.list_jobs(finished.folder, TINY)
    assert notes == []
    assert set(recorded) == {(job.rule, *sorted(job.wildcards.items())) for job in jobs}
    for job in jobs:
        record = recorded[job.rule, *sorted(job.wildcards.items())]
        assert replace(record.work, least_seconds=0) == work.of(job.rule, job.wildcards)
        assert record.output_bytes == sum((finished.folder / path).stat().st_size for path in job.outputs)
        assert record.threads == min(job.threads, os.cpu_count() or 1)
        assert (record.device != "") == ("gpu" in job.resources)
    lines, notes = forecast.forecast_study(plan, TINY, finished.folder)
    assert notes == []
    assert {line.rule: line.jobs for line in lines} == finished.planned("--forceall")
    assert sum(line.left for line in lines) == 0


def test_records_make_nothing_stale_and_what_is_stale_is_left(spoilable: Workspace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(spoilable.folder)
    for path in (spoilable.folder / "results").rglob("*.job.json"):
        path.unlink()
    assert spoilable.planned() == {}
    spoilable.edit(TINY, "methods: [gradcam]", "methods: [gradcam, layercam]")
    plan = Plan.read(yaml.safe_load((spoilable.folder / TINY).read_text()), spoilable.folder)
    left = {line.rule: line.left for line in forecast.forecast_study(plan, TINY, spoilable.folder)[0] if line.left}
    assert left == spoilable.planned()
    assert left["explain"] == 4
    assert "train" not in left
