"""Train a classifier in plain torch, and keep its best epoch on validation; interrupted training resumes.

The best epoch has the highest balanced accuracy on validation; among equals the lowest validation loss; among those the
first. On a CPU the weights are bit-identical for the same seed at the recipe's number of threads, whether the images are
on the device or streamed, and whether training was interrupted or not. `models/training/training_run.py` defines the content
of a state. `models/training/checkpoints.py` saves it: after every epoch, at a fixed interval of seconds, and on a signal.

Cost per epoch: one forward and backward pass per training image, one forward pass per validation image. Large images are
validated in batches of the size of a training pass, which needs more memory and therefore fits. Small images are validated
256 at a time: they need little memory, and another size would change the last bit of the losses that choose the epoch.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from gradfaith import rng
from gradfaith.config.architecture import DecoderSettings
from gradfaith.config.sections import Recipe
from gradfaith.errors import DeviceMissing, ModelUnusable, TrainingInterrupted
from gradfaith.models import multitask
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.models.training.checkpoints import (
    GIVEN_UP,
    CheckpointKeeper,
    SignalListener,
    TrainingState,
    listen_for_signals,
)
from gradfaith.models.training.image_source import ImageSource
from gradfaith.models.training.optimiser import LossWeights, class_weights, group_weights, limit_images_per_group
from gradfaith.models.training.training_run import EpochRow, TrainingData, TrainingRun

VALIDATION_BATCH = 256  # images per forward pass of validation, if they are small
SMALL_SIDE = 64  # pixels, the largest side of a small image


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier with the weights of its best epoch, and the history of its training."""

    classifier: Classifier
    history: tuple[EpochRow, ...]
    best_epoch: int  # from 1; 0 if it was not trained here
    losses: Mapping[str, multitask.SplitLosses] = field(default_factory=dict)  # of each part, if it has a decoder


@dataclass(frozen=True)
class TrainingWatch:
    """Decides between two batches whether to save a state, and whether to stop."""

    run: TrainingRun
    keeper: CheckpointKeeper | None
    listener: SignalListener

    def save_state(self) -> None:
        """Save a checkpoint, if checkpoints are kept."""
        if self.keeper is not None:
            self.keeper.save(self.run.state())

    def save_or_stop(self) -> None:
        """Save a checkpoint if one is due or a signal was received; stop after a signal."""
        signal_name = self.listener.name  # read once: a signal during the save is handled next time
        if self.keeper is not None and (signal_name or self.keeper.save_is_due):
            self.save_state()
        self.stop_if_signalled(signal_name)

    def stop_if_signalled(self, signal_name: str) -> None:
        """Raise TrainingInterrupted if a signal was received ("" is none)."""
        if signal_name:
            run = self.run
            raise TrainingInterrupted(
                problem=f"training received {signal_name} in epoch {run.epoch}, after {run.step} of {run.steps_per_epoch} steps.",
                reason="The signal ends the job: a scheduler sends it before a time limit, a terminal when it closes, or a user.",
                fix="Run again, or let Snakemake retry the job: training resumes from this step.",
            )

    def require_finite(self, which: str, loss: float) -> float:
        """Return the loss if it is finite; else record that this training failed, so that it is not repeated, and raise."""
        run = self.run
        if not math.isfinite(loss):
            problem = f"the {which} loss of {run.classifier.spec.name} became {loss} in epoch {run.epoch} (learning rate {run.learning_rate:.2g})."
            if self.keeper is not None:
                self.keeper.give_up(problem)
            raise _divergence_error(problem, self.keeper)
        return loss


def train(
    spec: ClassifierSpec,
    recipe: Recipe,
    images: ImageSource,
    labels: Tensor,
    parts: Mapping[str, Tensor],
    *,
    seed: int,
    weights: Path | None = None,
    groups: Tensor | None = None,
    masks: ImageSource | None = None,
    report: Callable[[EpochRow], None] = lambda _: None,
    keeper: CheckpointKeeper | None = None,
) -> TrainedClassifier:
    """Train a network on the "train" images of `parts` and choose its epoch on the "val" images.

    Args:
        images: all images of the study; `labels` (n,) and `groups` (n,) are the class and group numbers of each.
        parts: image numbers of "train" and "val"; a classifier with a decoder is measured on further parts at the end.
        weights: a file of pretrained weights; without it, initial weights are random.
        masks: masks of the evidence of all images, if the decoder of `spec` reconstructs them.
        report: is called after every epoch.
        keeper: saves checkpoints. If its folder has a checkpoint of this training, training resumes from it.
    """
    device = images.device
    _check_precision(recipe, device)
    with _reproducible(recipe.threads, device), listen_for_signals(keeper is not None) as listener:
        data = _training_data(images, labels, parts, spec.n_targets, recipe, groups, masks)
        classifier = build_classifier(spec, seed=rng.seed(seed, "initialisation"), weights=weights).to(device)
        run = TrainingRun(classifier, recipe, data, seed)
        watch = TrainingWatch(run, keeper, listener)
        if keeper is not None and (state := keeper.load_latest()) is not None:
            if problem := state.notes.get(GIVEN_UP):
                raise _divergence_error(problem, keeper)
            _restore(run, state, keeper)
        while not run.finished:
            watch.stop_if_signalled(listener.name)
            train_epoch(run, watch)
            report(run.history[-1])
        classifier.load_state_dict(run.best_weights)
        classifier.eval()
        measured = {} if spec.decoder is None else evaluate_parts(classifier, data, labels.long(), parts, recipe.batch)
    return TrainedClassifier(classifier, tuple(run.history), run.best_epoch, measured)


def train_epoch(run: TrainingRun, watch: TrainingWatch) -> None:
    """Train on the remaining batches of an epoch, then validate."""
    run.begin_epoch()
    remaining = run.remaining_batches()
    progress_bar = {
        "desc": f"epoch {run.epoch}",
        "total": run.steps_per_epoch,
        "initial": run.step,
        "leave": False,
        "disable": None,
    }
    for index, (pixels, masks) in tqdm(zip(remaining, run.data.batches(remaining), strict=True), **progress_bar):
        run.train_step(index, pixels, masks)
        watch.save_or_stop()
    loss = watch.require_finite(
        "training", float(run.loss_sum) / len(run.data.train)
    )  # the epoch's only synchronisation with the device
    run.finish_epoch(_validate(run, watch, loss))
    watch.save_state()


def _divergence_error(problem: str, keeper: CheckpointKeeper | None) -> ModelUnusable:
    again = f" To repeat the same recipe, delete {keeper.folder} first." if keeper is not None else ""
    return ModelUnusable(
        problem=problem,
        reason="With a loss that is not finite the weights become NaN, and later epochs cannot repair them.",
        fix="Set a lower training.lr, more training.warmup_epochs, or pretrained weights." + again,
    )


def _restore(run: TrainingRun, state: TrainingState, keeper: CheckpointKeeper) -> None:
    try:
        run.restore(state)
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        cause = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise keeper.progress_error(
            f"the last state in {keeper.folder} does not fit this training ({cause})."
        ) from error


@torch.inference_mode()
def _validate(run: TrainingRun, watch: TrainingWatch, loss: float) -> EpochRow:
    classifier, val = run.evaluated.eval(), run.data.val
    outputs: list[Tensor] = []
    decoded = 0.0  # sum of the decoder's losses
    for pixels, masks in run.data.batches(torch.split(val, _validation_batch_size(run))):
        if outputs:
            watch.save_or_stop()  # not after the last batch, because the epoch is complete then
        logits, own = _outputs_and_loss(classifier, pixels.float() / 255, masks, run.decoder)
        outputs.append(logits)
        decoded += own * len(pixels)
    logits, truth = torch.cat(outputs), run.data.loss_weights.labels[val.to(run.device)].cpu()
    class_loss = float(functional.cross_entropy(logits, truth))
    row = EpochRow(
        epoch=run.epoch,
        lr=run.learning_rate,
        train_loss=loss,
        val_loss=watch.require_finite("validation", class_loss),
        val_accuracy=float((logits.argmax(dim=1) == truth).float().mean()),
        val_balanced_accuracy=multitask.balanced_accuracy(logits, truth),
        seconds=run.seconds,
    )
    return row if run.decoder is None else _with_decoder_losses(row, run, run.decoder, decoded / len(val))


def _outputs_and_loss(
    classifier: Classifier, images: Tensor, masks: Tensor | None, decoder: DecoderSettings | None
) -> tuple[Tensor, float]:
    """Return the logits on the CPU, and the mean loss of the decoder; 0 without one."""
    if decoder is None:
        return classifier(images).float().cpu(), 0.0
    logits, decoded = classifier.forward_both(images)
    target = images if masks is None else masks.float()
    return logits.float().cpu(), float(multitask.decoder_loss(decoder, decoded.float(), target))


def _with_decoder_losses(row: EpochRow, run: TrainingRun, decoder: DecoderSettings, val_loss: float) -> EpochRow:
    """Return the row of an epoch with both parts of the losses; `val_loss` then is their sum, as `train_loss` is."""
    train_loss = float(run.decoder_loss_sum) / len(run.data.train)
    return replace(
        row,
        val_loss=row.val_loss + decoder.weight * val_loss,
        train_class_loss=row.train_loss - decoder.weight * train_loss,
        train_decoder_loss=train_loss,
        val_class_loss=row.val_loss,
        val_decoder_loss=val_loss,
    )


@torch.inference_mode()
def evaluate_parts(
    classifier: Classifier, data: TrainingData, labels: Tensor, parts: Mapping[str, Tensor], batch: int
) -> dict[str, multitask.SplitLosses]:
    """Return losses and accuracy on each part, image numbers by name, of a classifier that has a decoder."""
    settings, losses = classifier.spec.decoder, {}
    assert settings is not None
    trained = settings if settings.weight > 0 else None
    for part, index in parts.items():
        outputs, decoded = [], 0.0
        for pixels, masks in data.batches(torch.split(index, batch)):
            logits, own = _outputs_and_loss(classifier, pixels.float() / 255, masks, trained)
            outputs.append(logits)
            decoded += own * len(pixels)
        mean = decoded / len(index) if trained else None
        losses[part] = multitask.SplitLosses.of(torch.cat(outputs), labels[index], mean, settings)
    return losses


def _validation_batch_size(run: TrainingRun) -> int:
    recipe = run.recipe
    return (
        VALIDATION_BATCH
        if run.classifier.spec.size <= SMALL_SIDE
        else max(1, math.ceil(recipe.batch / recipe.accumulate))
    )


def _training_data(
    images: ImageSource,
    labels: Tensor,
    parts: Mapping[str, Tensor],
    classes: int,
    recipe: Recipe,
    groups: Tensor | None,
    masks: ImageSource | None,
) -> TrainingData:
    index, device = limit_images_per_group(parts["train"], labels, groups, recipe.max_slices_per_group), images.device
    by_group = group_weights(index, labels, groups).to(device) if recipe.group_weights and groups is not None else None
    by_class = class_weights(labels[index], classes).to(device) if recipe.class_weights else None
    loss_weights = LossWeights(labels.long().to(device), by_class, by_group, recipe.label_smoothing)
    return TrainingData(images, index, parts["val"], loss_weights, masks)


def _check_precision(recipe: Recipe, device: torch.device) -> None:
    if recipe.precision == "fp16" and device.type != "cuda":
        raise DeviceMissing(
            problem=f"training.precision is fp16, but the device is {device.type}.",
            reason="fp16 needs loss scaling, which torch has for CUDA devices; other devices lack fast fp16 kernels.",
            fix="Set `training.precision` to `bf16` or `float32` in the study, or train on a CUDA device.",
        )


@contextmanager
def _reproducible(threads: int, device: torch.device) -> Iterator[None]:
    """Use the recipe's threads, deterministic kernels and a forked global generator; restore all on exit."""
    threads_before = torch.get_num_threads()
    strict, lenient = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.set_num_threads(threads)
    # Some CUDA kernels have no deterministic variant. Then torch warns, and the card names the device.
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=lenient)
        torch.set_num_threads(threads_before)
