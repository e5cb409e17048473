"""Training in plain torch: AdamW, warm-up and a cosine, the best epoch on validation; killed, it goes on where it was.

The best epoch has the highest balanced accuracy on validation; among equals the lowest validation loss; among those the
first. On a CPU the weights are bit-equal for the same seed at the recipe's number of threads, whether the images lie on
the device or are read as needed, and whether the training ran through or was killed and went on: `models/training/training_run.py` says what a
state is made of, `models/training/checkpoints.py` how it is kept. It is kept after every epoch, every so many seconds, and when the scheduler
warns. Cost per epoch: one forward and backward per training image, one forward per validation image. Large images are
validated as many at once as a pass of training takes, which has to fit anyway and keeps more; small ones 256 at once, for
they need little, and another number would move the last bit of the losses that choose among epochs.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from gradfaith import rng
from gradfaith.config.training import Recipe
from gradfaith.errors import DeviceMissing, ModelUnusable, TrainingInterrupted
from gradfaith.models.classifier import Classifier, Spec, build
from gradfaith.models.training.checkpoints import GIVEN_UP, Keeper, State, Warned, listening
from gradfaith.models.training.image_source import Pixels
from gradfaith.models.training.optimiser import Weighing, capped, class_weights, group_weights
from gradfaith.models.training.training_run import Data, EpochRow, Run

CHUNK = 256  # images per forward of the validation part, where they are small
SMALL = 64  # pixels, the side of a small image


@dataclass(frozen=True)
class Trained:
    """A classifier with the weights of its best epoch, and how it came there."""

    classifier: Classifier
    history: tuple[EpochRow, ...]
    best_epoch: int


@dataclass(frozen=True)
class Watch:
    """Looks up between two batches: is it time to save, does the scheduler warn?"""

    run: Run
    keeper: Keeper | None
    warned: Warned

    def keep(self) -> None:
        if self.keeper is not None:
            self.keeper.save(self.run.state())

    def look(self) -> None:
        warning = self.warned.name  # read once: one that comes while a state is written is for the next look
        if self.keeper is not None and (warning or self.keeper.due):
            self.keep()
        self.obey(warning)

    def obey(self, warning: str) -> None:
        """End where that is asked for; the state is kept."""
        if warning:
            run = self.run
            raise TrainingInterrupted(
                found=f"{warning} came in epoch {run.epoch}, after {run.step} of its {run.steps} steps.",
                why="Who sends it wants the job to end: a scheduler before a limit, a terminal that is closed, a person.",
                then="Run again, or let the workflow try again: training goes on from this very step.",
            )

    def finite(self, which: str, loss: float) -> float:
        """The loss, if it is a number; else training is over, and later attempts at the same one are told so."""
        run = self.run
        if not math.isfinite(loss):
            found = f"the {which} loss of {run.classifier.spec.timm} became {loss} in epoch {run.epoch} (learning rate {run.rate:.2g})."
            if self.keeper is not None:
                self.keeper.give_up(found)
            raise _diverged(found, self.keeper)
        return loss


def train(
    spec: Spec,
    recipe: Recipe,
    pixels: Pixels,
    labels: Tensor,
    parts: Mapping[str, Tensor],
    *,
    seed: int,
    weights: Path | None = None,
    groups: Tensor | None = None,
    report: Callable[[EpochRow], None] = lambda _: None,
    keeper: Keeper | None = None,
) -> Trained:
    """Train `spec` on the "train" images of `parts`, choose its epoch on the "val" ones; `groups` numbers each image's group."""
    device = pixels.device
    _check(recipe, device)
    with _reproducible(recipe.threads, device), listening(keeper is not None) as warned:
        data = _data(pixels, labels, parts, spec.classes, recipe, groups)
        classifier = build(spec, seed=rng.seed(seed, "initialisation"), weights=weights).to(device)
        if recipe.channels_last:
            classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        run = Run(classifier, recipe, data, seed)
        watch = Watch(run, keeper, warned)
        if keeper is not None and (state := keeper.latest()) is not None:
            if said := state.notes.get(GIVEN_UP):
                raise _diverged(said, keeper)
            _restored(run, state, keeper)
        while not run.over:
            watch.obey(warned.name)
            one_epoch(run, watch)
            report(run.history[-1])
        classifier.load_state_dict(run.kept)
    return Trained(classifier.eval(), tuple(run.history), run.best)


def one_epoch(run: Run, watch: Watch) -> None:
    """What is left of one pass over the training images, and its validation."""
    run.begin()
    rest = run.batches()
    shown = {"desc": f"epoch {run.epoch}", "total": run.steps, "initial": run.step, "leave": False, "disable": None}
    for index, pixels in tqdm(zip(rest, run.data.pixels.batches(rest), strict=True), **shown):
        run.learn(index, pixels)
        watch.look()
    loss = watch.finite("training", float(run.total) / len(run.data.train))  # the only wait for the device in an epoch
    run.finish(_validated(run, watch, loss))
    watch.keep()


def _diverged(found: str, keeper: Keeper | None) -> ModelUnusable:
    again = f" The same recipe is tried again when {keeper.folder} is deleted." if keeper is not None else ""
    return ModelUnusable(
        found=found,
        why="Weights that are not finite answer nothing, and no later epoch mends them.",
        then="Lower training.lr, lengthen training.warmup_epochs, or start from pretrained weights." + again,
    )


def _restored(run: Run, state: State, keeper: Keeper) -> None:
    try:
        run.restore(state)
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        said = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise keeper.foreign(f"the last state in {keeper.folder} does not fit this training ({said}).") from error


@torch.inference_mode()
def _validated(run: Run, watch: Watch, loss: float) -> EpochRow:
    classifier, val = run.judged.eval(), run.data.val
    answers: list[Tensor] = []
    for pixels in run.data.pixels.batches(torch.split(val, _chunk(run))):
        if answers:
            watch.look()  # not after the last: with it the epoch is done
        answers.append(classifier(pixels.float() / 255).float().cpu())
    logits, truth = torch.cat(answers), run.data.weighing.labels[val.to(run.device)].cpu()
    right = (logits.argmax(dim=1) == truth).float()
    recalls = [right[truth == label].mean() for label in torch.unique(truth)]
    return EpochRow(
        epoch=run.epoch,
        lr=run.rate,
        train_loss=loss,
        val_loss=watch.finite("validation", float(functional.cross_entropy(logits, truth))),
        val_accuracy=float(right.mean()),
        val_balanced_accuracy=float(torch.stack(recalls).mean()),
        seconds=run.seconds,
    )


def _chunk(run: Run) -> int:
    recipe = run.recipe
    return CHUNK if run.classifier.spec.size <= SMALL else max(1, math.ceil(recipe.batch / recipe.accumulate))


def _data(
    pixels: Pixels, labels: Tensor, parts: Mapping[str, Tensor], classes: int, recipe: Recipe, groups: Tensor | None
) -> Data:
    index, device = capped(parts["train"], labels, groups, recipe.max_slices_per_group), pixels.device
    shares = group_weights(index, labels, groups).to(device) if recipe.group_weights and groups is not None else None
    by_class = class_weights(labels[index], classes).to(device) if recipe.class_weights else None
    weighing = Weighing(labels.long().to(device), by_class, shares, recipe.label_smoothing)
    return Data(pixels, index, parts["val"], weighing)


def _check(recipe: Recipe, device: torch.device) -> None:
    if recipe.precision == "fp16" and device.type != "cuda":
        raise DeviceMissing(
            found=f"training.precision: fp16, and the device is {device.type}.",
            why="Half precision needs its losses scaled, which is for CUDA devices; elsewhere its kernels are slow or missing.",
            then="Say `precision: bf16` or `float32`, or train on a CUDA device.",
        )


@contextmanager
def _reproducible(threads: int, device: torch.device) -> Iterator[None]:
    """The recipe's threads, deterministic kernels and a forked global stream, all as before afterwards."""
    before = torch.get_num_threads()
    strict, lenient = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.set_num_threads(threads)
    # Some CUDA kernels have no deterministic twin: there it warns, and the card names the device.
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=lenient)
        torch.set_num_threads(before)
