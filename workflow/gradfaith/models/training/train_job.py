"""Train one model of a study from its settings, and write its card, its history and its TensorBoard log.

With a recipe the network is probed (does its layer yield maps?) and trained. Without a recipe its weights are used
unchanged, so every tensor must be in the file. Its head may then have outputs of its own, and a class map assigns outputs
to classes.

If the study enables TensorBoard, it receives one scalar per column of the history. The package is optional: it is imported
when the first epoch is written, and a study that enables it without the package is refused early. A resumed training
overwrites the events after its state. After another process has taken a training over, this one writes nothing.
"""

import csv
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from gradfaith.config.job_settings import TrainSettings
from gradfaith.errors import ModelUnusable, OutOfMemory
from gradfaith.models import checkpoint, multitask, weight_file
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.models.layers import is_black_box
from gradfaith.models.training.checkpoints import CheckpointKeeper
from gradfaith.models.training.image_source import PackedImages, PackedMasks, open_image_source
from gradfaith.models.training.loop import TrainedClassifier, train
from gradfaith.models.training.training_run import EpochRow
from gradfaith.runtime import device as devices
from gradfaith.storage.atomic import replacing
from gradfaith.storage.hdf5 import ImageStore
from gradfaith.vocabulary import PARTS


@dataclass(frozen=True)
class MachineSettings:
    """The machine settings of a training; they do not change the weights."""

    image_storage: str = "auto"  # or device, or stream
    memory_limit: int | None = None  # bytes that the job may use
    tensorboard_folder: Path | None = None


def train_model(
    settings: TrainSettings,
    images: ImageStore,
    table: pd.DataFrame,
    *,
    probe: Callable[[Classifier], None],
    seed: int,
    weights: Path | None,
    device: torch.device,
    machine: MachineSettings = MachineSettings(),
    keeper: CheckpointKeeper | None = None,
) -> TrainedClassifier:
    """Train one model, or use its weights unchanged if the settings have no recipe.

    Args:
        table: one row per image with the columns image_id, label, group and part.
        probe: raises an error if a method has no map for the network.
        weights: a file of pretrained weights; without it, initial weights are random.
        keeper: saves and loads the checkpoints of this training.
    """
    spec = _classifier_spec(settings, images)
    if settings.class_map:
        spec = checkpoint.spec_with_head_of_file(spec, weights, settings.class_map, settings.classes)
    _probe_untrained(spec, seed, device, probe, trains=settings.recipe is not None)
    if settings.recipe is None:
        return _load_unchanged(spec, weights)
    class_number = {name: number for number, name in enumerate(settings.classes)}
    decoder, ids = spec.decoder, list(table["image_id"])
    how = (machine.image_storage, device, machine.memory_limit)
    needs_masks = decoder is not None and decoder.weight > 0 and decoder.target == "mask"
    with _explain_out_of_memory(device):
        return train(
            spec,
            settings.recipe,
            open_image_source(PackedImages(images, ids), *how),
            torch.tensor(table["label"].map(class_number).to_numpy()),
            {part: torch.tensor(np.flatnonzero(table["part"] == part)) for part in (PARTS if decoder else PARTS[:2])},
            seed=seed,
            weights=weights,
            groups=torch.tensor(pd.factorize(table["group"], sort=True)[0]),
            masks=open_image_source(PackedMasks(images, ids), *how) if needs_masks else None,
            report=_epoch_reporter(machine.tensorboard_folder, keeper),
            keeper=keeper,
        )


def _probe_untrained(
    spec: ClassifierSpec, seed: int, device: torch.device, probe: Callable[[Classifier], None], *, trains: bool
) -> None:
    """Build a network only for the probe, and drop it: training builds its own."""
    untrained = build_classifier(spec, seed=seed).without_decoder()
    probe(untrained.to(device))
    if trains and is_black_box(untrained.net):
        raise ModelUnusable(
            problem=f"{spec.name} is a black box, and cannot be trained.",
            reason="Training needs the gradients of its outputs.",
            fix="Set `training: none` in the study, to take the network as it is.",
        )


def training_identity(
    settings: TrainSettings, images: ImageStore, table: pd.DataFrame, *, seed: int, weights: Path | None
) -> dict[str, Any]:
    """Return everything that decides the weights; a training resumes only from a state with the same identity."""
    split = table[["image_id", "label", "group", "part"]].to_csv(index=False)
    return {
        "spec": _classifier_spec(settings, images).to_json(),
        "recipe": settings.recipe and settings.recipe.to_dict(),
        "seed": seed,
        "images": images.digest,
        "split": hashlib.sha256(split.encode()).hexdigest(),
        "weights": weight_file.checked_sha256(weights) if weights else "",
        "classes": list(settings.classes),  # in the order of the label numbers
    }


def model_card(
    trained: TrainedClassifier,
    settings: TrainSettings,
    images: ImageStore,
    wildcards: Any,
    weights: Path | None = None,
) -> dict[str, Any]:
    """Return the content of a model's card; checkpoint.save adds spec, digest and versions."""
    parameters = sum(parameter.numel() for parameter in trained.classifier.parameters())
    return {
        "arch": wildcards.arch,
        "seed": int(wildcards.seed),
        "classes": settings.classes,
        "recipe": settings.recipe and settings.recipe.to_dict(),
        "channels_last": trained.classifier.passes.channels_last,  # in the training
        "best_epoch": trained.best_epoch,
        "parameters": parameters,
        "images_digest": images.digest,
        "image": images.stamp,  # the conversion of files to pixels: an external evaluation must use the same
        "device": devices.device_name(trained.classifier.mean.device),
        "threads": settings.recipe.threads if settings.recipe else None,
        **({"losses": multitask.losses_to_json(trained.losses)} if trained.losses else {}),
        "started_from": {"file": str(weights), "sha256": weight_file.checked_sha256(weights)} if weights else None,
    }


def write_history(path: str, trained: TrainedClassifier, *, confirm: Callable[[], object] = lambda: None) -> None:
    """Write history.csv, one line per epoch; a model without training has none. `confirm`: as in checkpoint.save."""
    confirm()
    fields = list(EpochRow.__dataclass_fields__)
    if all(row.val_decoder_loss is None for row in trained.history):
        fields = [name for name, field in EpochRow.__dataclass_fields__.items() if field.default is MISSING]
    with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(asdict(row) for row in trained.history)


def _classifier_spec(settings: TrainSettings, images: ImageStore) -> ClassifierSpec:
    network, image = settings.spec, settings.image
    return ClassifierSpec(
        timm=network.timm,
        module=network.module,
        onnx=network.onnx,
        head=network.head,
        classes=_number_of_outputs(settings),
        channels=image.channels,
        in_chans=network.in_chans,
        size=image.size,
        mean=images.mean if image.mean == "train" else image.mean,
        std=images.std if image.std == "train" else image.std,
        options=network.options,
        decoder=network.decoder,
    )


def _number_of_outputs(settings: TrainSettings) -> int:
    """Return the outputs that the network needs: one per class, or one in all for a sigmoid head of two classes."""
    network, classes = settings.spec, len(settings.classes)
    return 1 if network.timm and network.head == "sigmoid" and classes == 2 and not settings.class_map else classes


def save_training(output: Any, trained: TrainedClassifier, card: Mapping[str, Any], keeper: CheckpointKeeper) -> None:
    """Write history, weights and card, and drop all states but the last; `output`: the rule's output files."""
    write_history(output.history, trained, confirm=keeper.confirm_lock)
    checkpoint.save(Path(output.weights).parent, trained.classifier, card, confirm=keeper.confirm_lock)
    keeper.drop_all_but_last_state()


@contextmanager
def _explain_out_of_memory(device: torch.device) -> Iterator[None]:
    """Turn torch's out-of-memory errors into one that names the settings to change."""
    try:
        yield
    except RuntimeError as error:
        if not devices.is_out_of_memory(error):
            raise
        raise OutOfMemory(
            problem=f"training ran out of memory on {devices.device_name(device)}: {str(error).partition(chr(10))[0]}",
            reason="The network, the optimiser, the passes of a batch and, with `compute.images: device`, all images must fit into memory.",
            fix="Set a larger training.accumulate (more pieces per batch), a smaller training.batch, or `compute.images: stream`.",
        ) from error


def _load_unchanged(spec: ClassifierSpec, weights: Path | None) -> TrainedClassifier:
    """Use the weights of a file unchanged, including the head, an ONNX file, or the weights that a user's callable gives."""
    classifier = build_classifier(spec, seed=0, weights=weights if spec.onnx else None)
    if weights is None or spec.onnx:  # the study refuses this for a network of timm
        return TrainedClassifier(classifier.eval(), (), 0)
    try:
        classifier.net.load_state_dict(weight_file.read_weights(weights))
    except (
        ModelUnusable,
        RuntimeError,
    ) as error:  # torch lists every surplus or missing key, and every different shape
        cause = error.problem if isinstance(error, ModelUnusable) else str(error)
        raise ModelUnusable(
            problem=f"{weights} is not a classifier of {spec.classes} classes for {spec.name}: {cause}",
            reason="With `training: none`, the file must contain every tensor, including the head.",
            fix="Set `weights` to a file of this architecture with this number of classes.",
        ) from error
    return TrainedClassifier(classifier.eval(), (), 0)


def _epoch_reporter(tensorboard_folder: Path | None, keeper: CheckpointKeeper | None) -> Callable[[EpochRow], None]:
    """Return a function that writes an epoch to the log, and to TensorBoard if there is a folder for it."""
    if tensorboard_folder is None:
        return _log_epoch
    tensorboard = TensorBoardWriter(tensorboard_folder, **({"confirm": keeper.confirm_lock} if keeper else {}))

    def log_and_write(row: EpochRow) -> None:
        _log_epoch(row)
        tensorboard.write_epoch(row)

    return log_and_write


def _log_epoch(row: EpochRow) -> None:
    print(  # noqa: T201 - a job's standard output is its log
        f"{time.strftime('%H:%M:%S')} epoch {row.epoch}: train loss {row.train_loss:.4f}, val loss {row.val_loss:.4f}, "
        f"val balanced accuracy {row.val_balanced_accuracy:.3f}, {row.seconds:.1f} s",
        flush=True,
    )


class TensorBoardWriter:
    """The TensorBoard event file of one training, opened with the first epoch; `confirm`: as in checkpoint.save."""

    def __init__(self, folder: Path, *, confirm: Callable[[], object] = lambda: None) -> None:
        self._folder, self._confirm = folder, confirm
        self._writer: Any = None

    def write_epoch(self, row: EpochRow) -> None:
        """Write one scalar per column of the history."""
        self._confirm()
        writer = self._open(row.epoch)
        values = asdict(row)
        epoch = values.pop("epoch")
        for name, value in values.items():
            if value is not None:
                writer.add_scalar(name, value, epoch)
        writer.flush()

    def _open(self, epoch: int) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=epoch)
        return self._writer
