"""Define the state of one training: everything that the next step depends on, one step, and saving and restoring it.

Everything random within an epoch has its own stream, named by (seed, purpose, epoch): order, augmentation, and the global
stream that dropout and drop-path use. A state within an epoch contains the last two streams; the order is drawn again.
"""

import copy
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from gradfaith import rng
from gradfaith.config.sections import Recipe
from gradfaith.models.classifier import Classifier
from gradfaith.models.multitask import decoder_loss
from gradfaith.models.speed import trains_in_channels_last
from gradfaith.models.timm_import import timm
from gradfaith.models.training import optimiser
from gradfaith.models.training.checkpoints import TrainingState
from gradfaith.models.training.image_source import ImageSource, augment_with_masks
from gradfaith.models.training.optimiser import LossWeights, Mixup, draw_mixup
from gradfaith.runtime import device as devices


@dataclass(frozen=True)
class EpochRow:
    """One line of history.csv; the field names are its columns."""

    epoch: int  # from 1
    lr: float  # of the epoch's last step
    train_loss: float
    val_loss: float
    val_accuracy: float
    val_balanced_accuracy: float
    seconds: float
    train_class_loss: float | None = None  # the two parts of the losses if a decoder is trained; else None
    train_decoder_loss: float | None = None
    val_class_loss: float | None = None
    val_decoder_loss: float | None = None

    @property
    def rank(self) -> tuple[float, float]:
        """Return the sort key of the best epoch; larger is better."""
        return self.val_balanced_accuracy, -self.val_loss


@dataclass(frozen=True)
class TrainingData:
    """All images of a study, the image numbers for training and validation, and their weights in the loss."""

    images: ImageSource
    train: Tensor  # image numbers, on the CPU
    val: Tensor
    loss_weights: LossWeights
    masks: ImageSource | None = None  # of the evidence, if a decoder reconstructs it

    def batches(self, indices: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield the images of each index (n, c, h, w), and their masks (n, 1, h, w), both uint8."""
        masks = itertools.repeat(None) if self.masks is None else self.masks.batches(indices)
        return zip(self.images.batches(indices), masks, strict=False)  # the repetition has no end


class TrainingRun:
    """A classifier in training, between two of its steps."""

    def __init__(self, classifier: Classifier, recipe: Recipe, data: TrainingData, seed: int) -> None:
        self.classifier, self.recipe, self.data, self.seed = classifier, recipe, data, seed
        self.device = data.images.device
        if trains_in_channels_last(classifier, recipe.channels_last):
            classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            classifier.passes = replace(classifier.passes, channels_last=True)
        self.frozen_modules = optimiser.freeze_layers(classifier, recipe.freeze)
        self.trained_parameters = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
        self.optimizer = optimiser.build_optimizer(classifier, recipe, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "fp16")
        self.average = optimiser.WeightAverage(classifier, recipe.ema) if recipe.ema else None
        asked = classifier.spec.decoder
        self.decoder = asked if asked is not None and asked.weight > 0 else None
        self.forward: Callable[[Tensor], Tensor | tuple[Tensor, Tensor]] = (
            classifier.forward_both if self.decoder else classifier
        )
        if recipe.compile:
            self.forward = torch.compile(self.forward, dynamic=False)
        self.steps_per_epoch = math.ceil(len(data.train) / recipe.batch)
        self.history: list[EpochRow] = []
        self.best_epoch, self.best_weights = 0, copy.deepcopy(classifier.state_dict())
        self.step, self._augmentation = 0, Generator()
        self.loss_sum, self.decoder_loss_sum = (torch.zeros((), device=self.device) for _ in range(2))
        self._seconds_before, self._started = 0.0, time.perf_counter()

    @property
    def epoch(self) -> int:
        """Number of the current epoch, from 1."""
        return len(self.history) + 1

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
        stale, patience = len(self.history) - self.best_epoch, self.recipe.patience
        return len(self.history) >= self.recipe.epochs or (patience is not None and stale >= patience)

    @property
    def evaluated(self) -> Classifier:
        """The classifier that is validated and kept: the moving average, if the recipe has one."""
        return self.average.classifier if self.average else self.classifier

    @property
    def seconds(self) -> float:
        """The seconds of this epoch so far, over all processes that worked on it."""
        return self._seconds_before + time.perf_counter() - self._started

    def remaining_batches(self) -> list[Tensor]:
        """Return the image numbers of the epoch's remaining batches.

        Every epoch has a new order. Batches have nearly equal sizes, because batch norms fail on a single image.
        """
        order = Generator().manual_seed(rng.seed(self.seed, "order", self.epoch))
        index = self.data.train
        return list(index[torch.randperm(len(index), generator=order)].tensor_split(self.steps_per_epoch))[self.step :]

    def begin_epoch(self) -> None:
        """Put the network in training mode; at the start of an epoch, seed its random streams too."""
        self.classifier.train()
        for module in self.frozen_modules:
            module.eval()
        if self.step == 0:
            torch.manual_seed(
                rng.seed(self.seed, "dropout", self.epoch)
            )  # forked, so that the caller's stream is restored
            self._augmentation.manual_seed(rng.seed(self.seed, "augmentation", self.epoch))
            self.loss_sum.zero_()
            self.decoder_loss_sum.zero_()
            self._seconds_before, self._started = 0.0, time.perf_counter()

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step, or of the epoch's last step if all are done."""
        step = min(self.step, self.steps_per_epoch - 1)
        return optimiser.learning_rate(
            self.recipe, (self.epoch - 1) * self.steps_per_epoch + step, self.steps_per_epoch
        )

    def train_step(self, index: Tensor, pixels: Tensor, masks: Tensor | None = None) -> None:
        """Do one optimiser step on one batch, in the number of pieces that the recipe sets.

        `index` (n,), `pixels` (n, c, h, w) uint8, `masks` (n, 1, h, w) uint8: what a decoder reconstructs.
        """
        recipe, batch = self.recipe, index.to(self.device)
        optimiser.set_learning_rate(self.optimizer, self.learning_rate)
        shown = None if masks is None else masks.float()
        images, shown = augment_with_masks(pixels.float() / 255, shown, recipe, self._augmentation)
        mixup = draw_mixup(recipe.mixup, len(batch), self.device, self.seed, "mixup", self.epoch, self.step)
        images = mixup.mix_images(images) if mixup else images
        target = images if shown is None else mixup.mix_images(shown) if mixup else shown
        if self.classifier.passes.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        self.optimizer.zero_grad(set_to_none=True)
        for piece in _batch_pieces(len(batch), recipe.accumulate):
            with torch.autocast(self.device.type, dtype=_autocast_dtype(recipe), enabled=recipe.precision != "float32"):
                outputs = self.forward(images[piece])
            logits, decoded = outputs if isinstance(outputs, tuple) else (outputs, None)
            loss = self._loss(logits.float(), batch, piece, mixup)
            if decoded is not None and self.decoder is not None:
                own = decoder_loss(self.decoder, decoded.float(), target[piece]) * (len(decoded) / len(batch))
                loss = loss + self.decoder.weight * own
                self.decoder_loss_sum += own.detach() * len(batch)
            torch.autograd.backward(self.scaler.scale(loss))
            self.loss_sum += loss.detach() * len(batch)
        if recipe.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.trained_parameters, recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.update(self.classifier, (self.epoch - 1) * self.steps_per_epoch + self.step)
        self.step += 1

    def _loss(self, logits: Tensor, batch: Tensor, piece: slice, mixup: Mixup | None) -> Tensor:
        own = self.data.loss_weights.loss(logits, batch[piece], batch)
        if mixup is None:
            return own
        partners = batch[mixup.partner]
        return mixup.share * own + (1 - mixup.share) * self.data.loss_weights.loss(logits, partners[piece], partners)

    def finish_epoch(self, row: EpochRow) -> None:
        """Record a validated epoch, keep its weights if it is the best, and go to step 0 of the next."""
        if not self.best_epoch or row.rank > self.history[self.best_epoch - 1].rank:
            self.best_epoch, self.best_weights = row.epoch, copy.deepcopy(self.evaluated.state_dict())
        self.history.append(row)
        self.step = 0

    def state(self) -> TrainingState:
        """Return everything that the next step depends on, on the CPU."""
        parts: dict[str, Mapping[str, Tensor]] = {
            "model": self.classifier.state_dict(),
            "kept": self.best_weights if self.best_epoch else {},
            "average": self.average.classifier.state_dict() if self.average else {},
            "optimizer": optimiser.optimizer_state(self.optimizer),
            "stream": {
                "global": torch.get_rng_state(),
                "changes": self._augmentation.get_state(),
                **_device_stream(self.device),
            },
            "epoch": {"total": self.loss_sum} | ({"decoder": self.decoder_loss_sum} if self.decoder else {}),
        }
        tensors = {f"{part}:{name}": value for part, named in parts.items() for name, value in named.items()}
        notes = {
            "history": [asdict(row) for row in self.history],
            "best": self.best_epoch,
            "step": self.step,
            "seconds": self.seconds,
            "scaler": self.scaler.state_dict(),
            "over": self.finished,
            **_software_and_device(self.device),
        }
        return TrainingState({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, notes)

    def restore(self, state: TrainingState) -> None:
        """Restore this run from a state."""
        parts: dict[str, dict[str, Tensor]] = {}
        for key, value in state.tensors.items():
            part, _, name = key.partition(":")
            parts.setdefault(part, {})[name] = value
        notes: Mapping[str, Any] = state.notes
        _log_differences(notes, self.device)
        self.classifier.load_state_dict(parts["model"])
        if self.average:
            self.average.classifier.load_state_dict(parts["average"])
        optimiser.restore_optimizer(self.optimizer, parts.get("optimizer", {}))
        self.scaler.load_state_dict(notes["scaler"])
        self.history, self.best_epoch, self.step = (
            [EpochRow(**row) for row in notes["history"]],
            notes["best"],
            notes["step"],
        )
        if self.best_epoch:
            self.best_weights = {name: value.to(self.device) for name, value in parts["kept"].items()}
        self.loss_sum.copy_(parts["epoch"]["total"])
        if self.decoder:
            self.decoder_loss_sum.copy_(parts["epoch"]["decoder"])
        self._seconds_before, self._started = notes["seconds"], time.perf_counter()
        torch.set_rng_state(parts["stream"]["global"])
        self._augmentation.set_state(parts["stream"]["changes"])
        fallback_seed = rng.seed(self.seed, "dropout", self.epoch)
        _set_device_stream(self.device, parts["stream"].get(self.device.type), fallback_seed)


def _batch_pieces(batch_size: int, pieces: int) -> Iterator[slice]:
    """Cut a batch into pieces that differ by at most one image; into fewer if one would be a single image."""
    pieces = max(1, min(pieces, batch_size // 2))
    size, larger = divmod(batch_size, pieces)
    ends = [piece * size + min(piece, larger) for piece in range(pieces + 1)]
    return (slice(start, end) for start, end in itertools.pairwise(ends))


def _software_and_device(device: torch.device) -> dict[str, str]:
    """Return the software and device that may change the last bits of a training, for the state."""
    return {
        "device": device.type,
        "processor": devices.device_name(device),
        "torch": torch.__version__,
        "timm": timm.__version__,
    }


def _log_differences(notes: Mapping[str, Any], device: torch.device) -> None:
    """Log if a state was made on another device or with other versions: weights may then differ in their last bits."""
    here = _software_and_device(device)
    if differing := [f"{key} {notes[key]}, here {here[key]}" for key in here if notes.get(key, here[key]) != here[key]]:
        print(  # noqa: T201 - a job's standard output is its log
            f"the state was made in another environment ({'; '.join(differing)}): the last bits of the weights may differ "
            "from an uninterrupted training in one environment",
            flush=True,
        )


def _autocast_dtype(recipe: Recipe) -> torch.dtype:
    return torch.float16 if recipe.precision == "fp16" else torch.bfloat16


def _device_stream(device: torch.device) -> dict[str, Tensor]:
    if device.type == "cuda":
        return {"cuda": torch.cuda.get_rng_state(device)}
    return {"mps": torch.mps.get_rng_state()} if device.type == "mps" else {}


def _set_device_stream(device: torch.device, state: Tensor | None, fallback_seed: int) -> None:
    """Restore the device's random stream; seed it if the state comes from another kind of device and has none."""
    if device.type == "cuda":
        torch.cuda.manual_seed(fallback_seed) if state is None else torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.manual_seed(fallback_seed) if state is None else torch.mps.set_rng_state(state)
