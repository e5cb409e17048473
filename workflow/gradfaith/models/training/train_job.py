"""From the study's words to a trained classifier, its card and its history.

With a recipe the network is probed (does its layer yield maps at all?) and trained; without one its weights are taken as they are, so
every tensor must be in the file. Its head may then have outputs of its own, and a class map says which stand for which class.

Epochs for TensorBoard, where the study asks for it: one scalar per column of the history.

The package is no dependency: it is imported when the first epoch is shown, and a study that asks for it where it is not
installed is refused as it is read. A training that goes on writes over what came after its state.
"""

import csv
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from gradfaith.config.training import Recipe
from gradfaith.errors import ModelUnusable, OutOfMemory
from gradfaith.models import weight_file
from gradfaith.models.checkpoint import as_in_file
from gradfaith.models.classifier import Classifier, Spec, build
from gradfaith.models.training.checkpoints import Keeper
from gradfaith.models.training.image_source import opened
from gradfaith.models.training.loop import Trained, train
from gradfaith.models.training.training_run import EpochRow
from gradfaith.runtime import batching
from gradfaith.runtime import device as devices
from gradfaith.storage.atomic import replacing
from gradfaith.storage.hdf5 import Images

pass


@dataclass(frozen=True)
class Machine:
    """How a training uses the machine; nothing here changes a weight."""

    images: str = "auto"  # or device, or stream
    memory: int | None = None  # bytes that the job may take
    events: Path | None = None  # TensorBoard's folder


def model(
    settings: Mapping[str, Any],
    images: Images,
    table: pd.DataFrame,
    *,
    probe: Callable[[Classifier], None],
    seed: int,
    weights: Path | None,
    device: torch.device,
    machine: Machine = Machine(),
    keeper: Keeper | None = None,
) -> Trained:
    """One model; `table` holds image_id, label, group and part, and `probe` refuses a network that a method has no map for."""
    spec = _spec(settings, images)
    if class_map := settings.get("class_map"):
        assert weights is not None  # the study refuses a class map where a network is trained
        spec = as_in_file(spec, weights, class_map, settings["classes"])
    probe(build(spec, seed=seed).to(device))  # nobody keeps it: training builds its own
    if settings["recipe"] is None:
        return _as_it_is(spec, weights)
    place = {name: number for number, name in enumerate(settings["classes"])}
    with _fitting(device):
        return train(
            spec,
            Recipe.from_dict(settings["recipe"]),
            opened(images, list(table["image_id"]), machine.images, device, machine.memory),
            torch.tensor(table["label"].map(place).to_numpy()),
            {part: torch.tensor(np.flatnonzero(table["part"] == part)) for part in ("train", "val")},
            seed=seed,
            weights=weights,
            groups=torch.tensor(pd.factorize(table["group"], sort=True)[0]),
            report=_reported(machine.events),
            keeper=keeper,
        )


def decides(
    settings: Mapping[str, Any], images: Images, table: pd.DataFrame, *, seed: int, weights: Path | None
) -> dict[str, Any]:
    """All that decides the weights: a state of a training is continued only where this is the same."""
    split = table[["image_id", "label", "group", "part"]].to_csv(index=False)
    return {
        "spec": _spec(settings, images).to_json(),
        "recipe": _whole(settings),
        "seed": seed,
        "images": images.digest,
        "split": hashlib.sha256(split.encode()).hexdigest(),
        "weights": weight_file.digest(weights) if weights else "",
        "classes": list(settings["classes"]),  # in the order that numbers the labels
    }


def card(
    trained: Trained, settings: Mapping[str, Any], images: Images, wildcards: Any, weights: Path | None = None
) -> dict[str, Any]:
    """What a reader of the weights must know, beside what the checkpoint adds."""
    parameters = sum(parameter.numel() for parameter in trained.classifier.parameters())
    return {
        "arch": wildcards.arch,
        "seed": int(wildcards.seed),
        "classes": settings["classes"],
        "recipe": _whole(settings),
        "best_epoch": trained.best_epoch,
        "parameters": parameters,
        "images_digest": images.digest,
        "image": images.stamp,  # how pictures became pixels: an external evaluation must do the same
        "device": devices.name(next(trained.classifier.parameters()).device),
        "threads": settings["recipe"]["threads"] if settings["recipe"] else None,
        "started_from": {"file": str(weights), "sha256": weight_file.digest(weights)} if weights else None,
    }


def write_history(path: str, trained: Trained) -> None:
    """One line per epoch; a model taken as it is has none."""
    fields = list(EpochRow.__dataclass_fields__)
    with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(asdict(row) for row in trained.history)


def _whole(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The recipe with its version and its defaults; none, where nothing is trained."""
    return settings["recipe"] and Recipe.from_dict(settings["recipe"]).to_dict()


def _spec(settings: Mapping[str, Any], images: Images) -> Spec:
    asked, image = settings["spec"], settings["image"]
    return Spec(
        timm=asked["timm"],
        classes=len(settings["classes"]),
        channels=image["channels"],
        in_chans=asked["in_chans"],
        size=image["size"],
        mean=images.mean if image["mean"] == "train" else image["mean"],
        std=images.std if image["std"] == "train" else image["std"],
        options=asked["options"],
    )


@contextmanager
def _fitting(device: torch.device) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not batching.out_of_memory(error):
            raise
        raise OutOfMemory(
            found=f"training ran out of memory on {devices.name(device)}: {str(error).partition(chr(10))[0]}",
            why="Network, optimiser and the passes of a batch must fit, and the images where they are kept on the device.",
            then="Raise training.accumulate (the same batch in more pieces), lower training.batch, or say `compute.images: stream`.",
        ) from error


def _as_it_is(spec: Spec, weights: Path | None) -> Trained:
    assert weights is not None  # the study refuses `training: none` without weights
    classifier = build(spec, seed=0)
    try:
        classifier.net.load_state_dict(weight_file.read(weights))
    except (
        ModelUnusable,
        RuntimeError,
    ) as error:  # torch lists every key that is too many, too few or of another shape
        said = error.found if isinstance(error, ModelUnusable) else str(error)
        raise ModelUnusable(
            found=f"{weights} is no classifier of {spec.classes} classes for {spec.timm}: {said}",
            why="With `training: none` every tensor is taken from the file, the head among them.",
            then="Give the weights of a network of this architecture and number of classes.",
        ) from error
    return Trained(classifier.eval(), (), 0)


def _reported(events: Path | None) -> Callable[[EpochRow], None]:
    """Every epoch is said in the log, and to TensorBoard where it is asked for."""
    if events is None:
        return _say
    board = Board(events)

    def both(row: EpochRow) -> None:
        _say(row)
        board.show(row)

    return both


def _say(row: EpochRow) -> None:
    print(  # noqa: T201 - a job's standard output is its log
        f"{time.strftime('%H:%M:%S')} epoch {row.epoch}: train loss {row.train_loss:.4f}, val loss {row.val_loss:.4f}, "
        f"val balanced accuracy {row.val_balanced_accuracy:.3f}, {row.seconds:.1f} s",
        flush=True,
    )


class Board:
    """The event file of one training."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def show(self, row: EpochRow) -> None:
        writer = self._open(row.epoch)
        values = asdict(row)
        epoch = values.pop("epoch")
        for name, value in values.items():
            writer.add_scalar(name, value, epoch)
        writer.flush()

    def _open(self, epoch: int) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=epoch)
        return self._writer
