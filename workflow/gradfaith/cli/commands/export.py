"""gradfaith export STUDY --to mlflow: write the metrics and figures of a finished study for MLflow or Weights & Biases.

One run per model: its training, epoch by epoch. One run for the study: how well each architecture classifies, every estimate
over all images with the ends of its interval, figures and tables. Everything is written into a folder on this machine and
nothing is sent: the images in figures may be private. `mlflow ui` shows the folder, `wandb sync` uploads it.
"""

import argparse
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from gradfaith.cli import compare
from gradfaith.cli.command import Command, add_study_argument, read_plan
from gradfaith.dag.plan import Plan
from gradfaith.errors import CannotWrite, MissingPackage
from gradfaith.reporting import metric_rows
from gradfaith.storage import json_file, parquet

COMMAND = Command(summary="write the metrics and figures of a finished study for MLflow or Weights & Biases")
CARD_KEYS = ("arch", "seed", "best_epoch", "temperature", "weights_sha256")
NEXT_STEP = {
    "mlflow": "Show them: mlflow ui --backend-store-uri sqlite:///{folder}/mlflow.db",
    "wandb": "Upload them: wandb sync {folder}/wandb/offline-run-*",
}


@dataclass(frozen=True)
class TrackedRun:
    """What a tracking tool receives as one run."""

    name: str
    settings: Mapping[str, str | int | float]
    metrics: Mapping[str, float] = field(default_factory=dict)
    epochs: Mapping[int, Mapping[str, float]] = field(default_factory=dict)  # epoch -> metric -> value
    files: tuple[Path, ...] = ()


class Tracker(Protocol):
    """The interface to a tracking tool."""

    def write(self, run: TrackedRun) -> None:
        """Write one run."""
        ...


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_study_argument(parser)
    parser.add_argument("--to", required=True, choices=tuple(TRACKERS), help="the tool that will show the study")
    parser.add_argument(
        "--folder", type=Path, help="a new folder to write into; default: results/STUDY/export/ and the tool's name"
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the study's runs, and print how to show them."""
    _, plan = read_plan(arguments.study)
    study, runs = plan.study.study, collect_runs(plan, Path.cwd())
    folder = arguments.folder or Path(plan.paths.export(arguments.to))
    if folder.exists():
        raise CannotWrite(
            problem=f"{folder} exists.",
            reason="A second export into the same folder would show every run twice.",
            fix="Name a new folder with --folder.",
        )
    tracker = TRACKERS[arguments.to](folder, study)
    for one in runs:
        tracker.write(one)
    print(f"{len(runs)} runs of study {study} are in {folder}. {NEXT_STEP[arguments.to].format(folder=folder)}")


def collect_runs(plan: Plan, root: Path) -> list[TrackedRun]:
    """Return a run per model, and one for the study; raise NotInStudy if the study is not finished."""
    estimates, paths = compare.read_estimates(plan.study.study, root), plan.paths
    cards = [json_file.read(root / path) for path in plan.per_model(paths.card)]
    histories = [root / path for path in plan.per_model(paths.history)]
    runs = [
        TrackedRun(
            name=f"{card['arch']}-seed-{card['seed']}",
            settings={key: card[key] for key in CARD_KEYS if key in card},
            epochs=_read_epochs(history) if history.is_file() else {},  # none if another study trained the model
        )
        for card, history in zip(cards, histories, strict=True)
    ]
    classification = parquet.read(root / paths.classification, parquet.CLASSIFICATION)
    figures = [paths.figure(name, "png") for name in plan.figures]
    shown = [root / path for path in (*figures, *(paths.table(name, "html") for name in plan.tables))]
    whole = TrackedRun(
        name=plan.study.study,
        settings={"study": plan.study.study, "dataset": plan.dataset.name, "title": plan.study.title or ""},
        metrics=_rates(classification) | _estimates(estimates),
        files=tuple(path for path in shown if path.is_file()),
    )
    return [*runs, whole]


def _read_epochs(history: Path) -> dict[int, dict[str, float]]:
    rows = metric_rows.records(pd.read_csv(history))
    return {int(row["epoch"]): {key: float(value) for key, value in row.items() if key != "epoch"} for row in rows}


def _rates(table: pd.DataFrame) -> dict[str, float]:
    """Return the averages over the classes: "resnet/balanced_accuracy", with the ends of the interval."""
    rows = metric_rows.records(metric_rows.macro_average_rows(table))
    return {name: value for row in rows for name, value in _with_ends(f"{row['arch']}/{row['metric']}", row)}


def _estimates(table: pd.DataFrame) -> dict[str, float]:
    """Return the estimates over all images, each metric in its primary variant: "resnet/gradcam/locacc"."""
    table = metric_rows.rows_over_all_images(table)
    primary = [metric_rows.rows_of_metric(table, metric) for metric in dict.fromkeys(table["metric"])]
    rows = [row for rows in primary for row in metric_rows.records(rows)]
    return {
        name: value for row in rows for name, value in _with_ends(f"{row['arch']}/{row['method']}/{row['metric']}", row)
    }


def _with_ends(name: str, row: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return a value and the ends of its interval; what does not exist is left out, never replaced by a number."""
    named = ((name, row["value"]), (f"{name}/low", row["low"]), (f"{name}/high", row["high"]))
    return [(key, float(value)) for key, value in named if math.isfinite(value)]


class MLflowFiles:
    """Write runs into a database of MLflow, with the files beside it: its older store of plain files is not maintained."""

    def __init__(self, folder: Path, study: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read at its import
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise _missing("mlflow", "mlflow") from error
        folder.mkdir(parents=True)
        self._client: Any = MlflowClient(tracking_uri=f"sqlite:///{folder.resolve()}/mlflow.db")
        files = (folder.resolve() / "files").as_uri()
        self._experiment = self._client.create_experiment(study, artifact_location=files)

    def write(self, run: TrackedRun) -> None:
        """Write one run: settings as parameters, epochs as steps of metrics, and the files."""
        client, name = self._client, run.name
        number = client.create_run(self._experiment, run_name=name).info.run_id
        for key, value in run.settings.items():
            client.log_param(number, key, value)
        for epoch, values in run.epochs.items():
            for key, number_at_epoch in values.items():
                client.log_metric(number, key, number_at_epoch, step=epoch)
        for key, number_of_study in run.metrics.items():
            client.log_metric(number, key, number_of_study)
        for path in run.files:
            client.log_artifact(number, str(path), path.parent.name)
        client.set_terminated(number)


class WandbFiles:
    """Write runs as offline runs of Weights & Biases."""

    def __init__(self, folder: Path, study: str) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read at its import
        try:
            import wandb
        except ImportError as error:
            raise _missing("Weights & Biases", "wandb") from error
        folder.mkdir(parents=True)
        self._wandb: Any = wandb
        self._folder, self._study = folder, study

    def write(self, run: TrackedRun) -> None:
        """Write one run: epochs as steps, metrics as its summary, figures as images and tables as pages."""
        settings = self._wandb.Settings(silent=True, console="off", disable_git=True)
        started = self._wandb.init(
            project=self._study,
            name=run.name,
            config=dict(run.settings),
            mode="offline",
            dir=str(self._folder),
            settings=settings,
        )
        for epoch, values in run.epochs.items():
            started.log(dict(values), step=epoch)
        shown = {f"{path.parent.name}/{path.stem}": self._show(path) for path in run.files}
        if shown:
            started.log(shown)
        started.summary.update(dict(run.metrics))
        started.finish()

    def _show(self, path: Path) -> Any:
        return self._wandb.Html(str(path)) if path.suffix == ".html" else self._wandb.Image(str(path))


TRACKERS: Mapping[str, Callable[[Path, str], Tracker]] = {"mlflow": MLflowFiles, "wandb": WandbFiles}


def _missing(tool: str, extra: str) -> MissingPackage:
    return MissingPackage(
        problem=f"{tool} is not installed.",
        reason="GradFaith does not install this package by default, because only `gradfaith export` needs it.",
        fix=f"Run `pip install {extra}` in this environment.",
    )
