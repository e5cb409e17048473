"""One training under way: everything that the next step depends on, how a step is done, and how all of it is kept and put back.

What is random within an epoch has its own stream, named by (seed, purpose, epoch): order, augmentation, and the global
stream that dropout and drop-path read. In mid-epoch the last two are kept as they stand; the order is drawn again.
"""

import copy
import itertools
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from gradfaith import rng
from gradfaith.config.training import Recipe
from gradfaith.models.classifier import Classifier
from gradfaith.models.timm_import import timm
from gradfaith.models.training import optimiser
from gradfaith.models.training.checkpoints import State
from gradfaith.models.training.image_source import Pixels, augment
from gradfaith.models.training.optimiser import Blend, Weighing, blend
from gradfaith.runtime import device as devices


@dataclass(frozen=True)
class EpochRow:
    """One line of history.csv."""

    epoch: int  # from 1
    lr: float  # of the epoch's last step
    train_loss: float
    val_loss: float
    val_accuracy: float
    val_balanced_accuracy: float
    seconds: float

    @property
    def rank(self) -> tuple[float, float]:
        return self.val_balanced_accuracy, -self.val_loss


@dataclass(frozen=True)
class Data:
    """All images of a study, which of them train and validate, and what they weigh."""

    pixels: Pixels
    train: Tensor  # numbers, on the CPU
    val: Tensor
    weighing: Weighing


class Run:
    """A classifier in training, between two of its steps."""

    def __init__(self, classifier: Classifier, recipe: Recipe, data: Data, seed: int) -> None:
        self.classifier, self.recipe, self.data, self.seed = classifier, recipe, data, seed
        self.device = data.pixels.device
        self.still = optimiser.freeze(classifier, recipe.freeze)
        self.trained = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
        self.optimizer = optimiser.optimizer(classifier, recipe, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "fp16")
        self.average = optimiser.Average(classifier, recipe.ema) if recipe.ema else None
        self.forward: nn.Module = torch.compile(classifier, dynamic=False) if recipe.compile else classifier  # type: ignore[assignment]
        self.steps = math.ceil(len(data.train) / recipe.batch)  # of an epoch
        self.history: list[EpochRow] = []
        self.best, self.kept = 0, copy.deepcopy(classifier.state_dict())
        self.step, self.total, self._changes = 0, torch.zeros((), device=self.device), Generator()
        self._spent, self._since = 0.0, time.perf_counter()

    @property
    def epoch(self) -> int:
        """The one under way, from 1."""
        return len(self.history) + 1

    @property
    def over(self) -> bool:
        stale, patience = len(self.history) - self.best, self.recipe.patience
        return len(self.history) >= self.recipe.epochs or (patience is not None and stale >= patience)

    @property
    def judged(self) -> Classifier:
        """What is validated and kept."""
        return self.average.classifier if self.average else self.classifier

    @property
    def seconds(self) -> float:
        """That this epoch took so far, in all the processes that worked on it."""
        return self._spent + time.perf_counter() - self._since

    def batches(self) -> list[Tensor]:
        """What is left of the epoch, in a new order and in batches of nearly equal size: one of one image would upset batch norms."""
        order = Generator().manual_seed(rng.seed(self.seed, "order", self.epoch))
        index = self.data.train
        return list(index[torch.randperm(len(index), generator=order)].tensor_split(self.steps))[self.step :]

    def begin(self) -> None:
        """An epoch begins, or goes on: the network trains, and streams are new in the first case."""
        self.classifier.train()
        for module in self.still:
            module.eval()
        if self.step == 0:
            torch.manual_seed(rng.seed(self.seed, "dropout", self.epoch))  # forked: the caller's stream comes back
            self._changes.manual_seed(rng.seed(self.seed, "augmentation", self.epoch))
            self.total.zero_()
            self._spent, self._since = 0.0, time.perf_counter()

    @property
    def rate(self) -> float:
        """The learning rate of the next step, or of the last one where none is left."""
        step = min(self.step, self.steps - 1)
        return optimiser.learning_rate(self.recipe, (self.epoch - 1) * self.steps + step, self.steps)

    def learn(self, index: Tensor, pixels: Tensor) -> None:  # (n,), (n, c, h, w) uint8
        """One step on one batch, in as many pieces as the recipe says."""
        recipe, whole = self.recipe, index.to(self.device)
        optimiser.set_rate(self.optimizer, self.rate)
        pictures = augment(pixels.float() / 255, recipe, self._changes)
        mix = blend(recipe.mixup, len(whole), self.device, self.seed, "mixup", self.epoch, self.step)
        pictures = mix.pictures(pictures) if mix else pictures
        if recipe.channels_last:
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        self.optimizer.zero_grad(set_to_none=True)
        for some in _pieces(len(whole), recipe.accumulate):
            with torch.autocast(self.device.type, dtype=_dtype(recipe), enabled=recipe.precision != "float32"):
                logits = self.forward(pictures[some])
            loss = self._loss(logits.float(), whole, some, mix)
            torch.autograd.backward(self.scaler.scale(loss))
            self.total += loss.detach() * len(whole)
        if recipe.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.trained, recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.follow(self.classifier, (self.epoch - 1) * self.steps + self.step)
        self.step += 1

    def _loss(self, logits: Tensor, whole: Tensor, some: slice, mix: Blend | None) -> Tensor:
        own = self.data.weighing.loss(logits, whole[some], whole)
        if mix is None:
            return own
        others = whole[mix.partner]
        return mix.share * own + (1 - mix.share) * self.data.weighing.loss(logits, others[some], others)

    def finish(self, row: EpochRow) -> None:
        """An epoch was validated: the next one has no step yet."""
        if not self.best or row.rank > self.history[self.best - 1].rank:
            self.best, self.kept = row.epoch, copy.deepcopy(self.judged.state_dict())
        self.history.append(row)
        self.step = 0

    def state(self) -> State:
        """All that the next step depends on."""
        parts: dict[str, Mapping[str, Tensor]] = {
            "model": self.classifier.state_dict(),
            "kept": self.kept if self.best else {},
            "average": self.average.classifier.state_dict() if self.average else {},
            "optimizer": optimiser.state_of(self.optimizer),
            "stream": {
                "global": torch.get_rng_state(),
                "changes": self._changes.get_state(),
                **_device_stream(self.device),
            },
            "epoch": {"total": self.total},
        }
        tensors = {f"{part}:{name}": value for part, named in parts.items() for name, value in named.items()}
        notes = {
            "history": [asdict(row) for row in self.history],
            "best": self.best,
            "step": self.step,
            "seconds": self.seconds,
            "scaler": self.scaler.state_dict(),
            "over": self.over,
            **_where(self.device),
        }
        return State({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, notes)

    def restore(self, state: State) -> None:
        """Go on where the state was made."""
        parts: dict[str, dict[str, Tensor]] = {}
        for key, value in state.tensors.items():
            part, _, name = key.partition(":")
            parts.setdefault(part, {})[name] = value
        notes: Mapping[str, Any] = state.notes
        _say_where(notes, self.device)
        self.classifier.load_state_dict(parts["model"])
        if self.average:
            self.average.classifier.load_state_dict(parts["average"])
        optimiser.restore(self.optimizer, parts.get("optimizer", {}))
        self.scaler.load_state_dict(notes["scaler"])
        self.history, self.best, self.step = [EpochRow(**row) for row in notes["history"]], notes["best"], notes["step"]
        if self.best:
            self.kept = {name: value.to(self.device) for name, value in parts["kept"].items()}
        self.total.copy_(parts["epoch"]["total"])
        self._spent, self._since = notes["seconds"], time.perf_counter()
        torch.set_rng_state(parts["stream"]["global"])
        self._changes.set_state(parts["stream"]["changes"])
        afresh = rng.seed(self.seed, "dropout", self.epoch)
        _set_device_stream(self.device, parts["stream"].get(self.device.type), afresh)


def _pieces(many: int, pieces: int) -> Iterator[slice]:
    """`many` rows in so many pieces, none more than a row larger than another; in fewer where one would be of a single image."""
    pieces = max(1, min(pieces, many // 2))
    size, larger = divmod(many, pieces)
    ends = [piece * size + min(piece, larger) for piece in range(pieces + 1)]
    return (slice(start, end) for start, end in itertools.pairwise(ends))


def _where(device: torch.device) -> dict[str, str]:
    """What may move the last bits of a training."""
    return {
        "device": device.type,
        "processor": devices.name(device),
        "torch": torch.__version__,
        "timm": timm.__version__,
    }


def _say_where(notes: Mapping[str, Any], device: torch.device) -> None:
    """Bits are promised on one device and by one version of torch and timm only; that a state comes from others is said."""
    here = _where(device)
    if other := [f"{key} {notes[key]}, here {here[key]}" for key in here if notes.get(key, here[key]) != here[key]]:
        print(  # noqa: T201 - a job's standard output is its log
            f"the state was made elsewhere ({'; '.join(other)}): the weights may differ in their last bits from those "
            "of a training that stayed where it was",
            flush=True,
        )


def _dtype(recipe: Recipe) -> torch.dtype:
    return torch.float16 if recipe.precision == "fp16" else torch.bfloat16


def _device_stream(device: torch.device) -> dict[str, Tensor]:
    if device.type == "cuda":
        return {"cuda": torch.cuda.get_rng_state(device)}
    return {"mps": torch.mps.get_rng_state()} if device.type == "mps" else {}


def _set_device_stream(device: torch.device, state: Tensor | None, afresh: int) -> None:
    """A state made on another kind of device has no stream for this one: what is drawn from it then begins with the epoch."""
    if device.type == "cuda":
        torch.cuda.manual_seed(afresh) if state is None else torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.manual_seed(afresh) if state is None else torch.mps.set_rng_state(state)
