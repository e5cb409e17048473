"""A finished study for MLflow and Weights & Biases: what arrives there is what its tables and histories hold."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from small_study import ARCHS, SEEDS, SmallStudy

from gradfaith.cli.commands import export
from gradfaith.cli.main import main
from gradfaith.dag.plan import Plan
from gradfaith.errors import MissingPackage, NotInStudy

ROOT = Path(__file__).parents[3]
STUDY = "tracked"
WANDB_BLOCK = 32768  # bytes of a block of its log


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder with one finished study."""
    home = tmp_path_factory.mktemp("project")
    (home / "Snakefile").touch()
    (home / "config/datasets").mkdir(parents=True)
    shutil.copy(ROOT / "config/datasets/phantom.yaml", home / "config/datasets")
    document: dict[str, Any] = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text())
    document |= {"study": STUDY, "seeds": SEEDS, "architectures": {arch: {"timm": "resnet10t"} for arch in ARCHS}}
    (home / "tracked.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    paths, made = Plan.read(document, home).paths, SmallStudy(home / "made")
    shutil.copytree(home / "made/models", home / f"results/{STUDY}/models")
    for name in ("estimates", "classification"):
        shutil.copy(str(made.inputs[name]), home / getattr(paths, name))
    figure, table = home / paths.figure("controls", "png"), home / paths.table("maps", "html")
    figure.parent.mkdir()
    table.parent.mkdir()
    shutil.copy(ROOT / "docs/images/embedded-controls.png", figure)
    table.write_text("<p>all numbers</p>")
    return home


@pytest.fixture
def runs(folder: Path) -> list[export.TrackedRun]:
    return export.collect_runs(plan_of(folder, folder), folder)


def plan_of(study: Path, root: Path) -> Plan:
    return Plan.read(yaml.safe_load((study / "tracked.yaml").read_text()), root)


def command(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["gradfaith", "export", "tracked.yaml", *words])
    main()


def test_a_run_per_model_has_its_epochs_and_its_card(folder: Path, runs: list[export.TrackedRun]) -> None:
    assert [run.name for run in runs] == [*(f"{arch}-seed-{seed}" for arch in ARCHS for seed in SEEDS), STUDY]
    history = pd.read_csv(folder / f"results/{STUDY}/models/{ARCHS[1]}/seed-0/history.csv")
    run = next(run for run in runs if run.name == f"{ARCHS[1]}-seed-0")
    assert list(run.epochs) == list(history["epoch"])
    assert [values["val_loss"] for values in run.epochs.values()] == pytest.approx(list(history["val_loss"]))
    assert (run.settings["arch"], run.settings["best_epoch"]) == (ARCHS[1], 5)


def test_the_run_of_the_study_has_the_estimates_with_their_intervals(
    folder: Path, runs: list[export.TrackedRun]
) -> None:
    table = pd.read_parquet(folder / f"results/{STUDY}/estimates.parquet")
    row = table.query(f"arch == '{ARCHS[0]}' and method == 'gradcam' and metric == 'locacc' and by == ''").iloc[0]
    metrics, name = runs[-1].metrics, f"{ARCHS[0]}/gradcam/locacc"
    assert [metrics[name], metrics[f"{name}/low"], metrics[f"{name}/high"]] == [row["value"], row["low"], row["high"]]
    assert f"{ARCHS[0]}/balanced_accuracy" in metrics
    assert [path.name for path in runs[-1].files] == ["controls.png", "maps.html"]


def test_what_does_not_exist_is_left_out() -> None:
    nan = float("nan")
    assert export._with_ends("a", {"value": 0.5, "low": nan, "high": nan}) == [("a", 0.5)]
    assert export._with_ends("a", {"value": nan, "low": nan, "high": nan}) == []


def test_a_study_that_is_not_finished_is_refused(tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder / "config", tmp_path / "config")
    with pytest.raises(NotInStudy, match=r"there is no file results/tracked/estimates.parquet"):
        export.collect_runs(plan_of(folder, tmp_path), tmp_path)


@pytest.mark.parametrize("tool", ["mlflow", "wandb"])
def test_a_missing_package_names_its_extra(tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, tool, None)
    with pytest.raises(MissingPackage, match=f"pip install {tool}"):
        export.TRACKERS[tool](tmp_path / "new", STUDY)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_exists_is_not_written_to_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="exists"):
        command(folder, monkeypatch, "--to", "mlflow", "--folder", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_mlflow_reads_what_was_exported(
    folder: Path, tmp_path: Path, runs: list[export.TrackedRun], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pytest.importorskip("sqlalchemy", reason="the extra `mlflow` is not installed")
    mlflow = pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    command(folder, monkeypatch, "--to", "mlflow", "--folder", str(tmp_path / "store"))
    assert f"{len(runs)} runs of study tracked are in" in capsys.readouterr().out
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/store/mlflow.db")
    experiment = client.get_experiment_by_name(STUDY).experiment_id
    found = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert set(found) == {run.name for run in runs}
    assert dict(found[STUDY].data.metrics) == pytest.approx(dict(runs[-1].metrics))
    number = found[runs[0].name].info.run_id
    steps = {metric.step: metric.value for metric in client.get_metric_history(number, "val_loss")}
    assert steps == pytest.approx({epoch: values["val_loss"] for epoch, values in runs[0].epochs.items()})
    assert found[runs[0].name].data.params["best_epoch"] == "5"
    kept = [item.path for item in client.list_artifacts(found[STUDY].info.run_id, "figures")]
    assert kept == ["figures/controls.png"]


def test_wandb_writes_offline_runs_and_sends_nothing(
    folder: Path, tmp_path: Path, runs: list[export.TrackedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    command(folder, monkeypatch, "--to", "wandb", "--folder", str(tmp_path / "offline"))
    written = sorted((tmp_path / "offline/wandb").glob("offline-run-*"))
    assert len(written) == len(runs)
    files = [file for run in written for file in (run / "files").rglob("*") if file.is_file()]
    assert {file.suffix for file in files} >= {".png", ".html"}
    text = b"".join(log.read_bytes() for run in written for log in run.glob("run-*.wandb"))
    assert b"val_balanced_accuracy" in text
    missing = [name for name in runs[-1].metrics if name.encode() not in text]
    assert len(runs[-1].metrics) > 20
    assert len(missing) <= len(text) // WANDB_BLOCK, "a name can be cut at the end of a block, and only there"
