"""Training in plain torch: AdamW, warm-up and a cosine, the best epoch on validation.

    lr(step) = lr * min(1, (step + 1) / warmup) * (1 + cos(pi * t)) / 2,   t: the share done of what follows the warm-up
    loss     = cross-entropy, each class weighed by n / (classes * its images) where the recipe asks for it, and each
               image by its class's images / (groups of the class * images of its group), so that all groups count alike

The best epoch has the highest balanced accuracy on validation; among equals the lowest validation loss; among those the
first. Whatever is random has its own stream, named by (seed, purpose, epoch): initialisation, order, augmentation, and
the global stream that dropout and drop-path read, which is forked and put back. On a CPU the weights are bit-equal for
the same seed at the recipe's number of threads. Cost per epoch: one forward and backward per training image, one
forward per validation image; all uint8 images stay on the device as one tensor.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn import functional
from torch.optim import AdamW, Optimizer

from gradfaith import rng
from gradfaith.errors import ModelUnusable
from gradfaith.models.augment import augment
from gradfaith.models.build import Classifier, Spec, build
from gradfaith.models.predict import predict
from gradfaith.models.recipe import Recipe

CHUNK = 256  # images per forward of the validation part


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


@dataclass(frozen=True)
class Trained:
    """A classifier with the weights of its best epoch, and how it came there."""

    classifier: Classifier
    history: tuple[EpochRow, ...]
    best_epoch: int


@dataclass(frozen=True)
class Data:
    """All images of a study on the device, and which of them train and validate."""

    images: Tensor  # (n, c, h, w), uint8
    labels: Tensor  # (n,)
    train: Tensor  # indices
    val: Tensor  # indices
    weights: Tensor | None  # (classes,)
    shares: Tensor | None  # (n,), what each image weighs


def train(
    spec: Spec,
    recipe: Recipe,
    images: Tensor,
    labels: Tensor,
    parts: Mapping[str, Tensor],
    *,
    seed: int,
    device: torch.device | str = "cpu",
    weights: Path | None = None,
    groups: Tensor | None = None,
    report: Callable[[EpochRow], None] = lambda _: None,
) -> Trained:
    """Train `spec` on the "train" images of `parts`, choose its epoch on the "val" ones; `groups` numbers each image's group."""
    device = torch.device(device)
    with _reproducible(recipe.threads, device):
        parts = {**parts, "train": capped(parts["train"], labels, groups, recipe.max_slices_per_group)}
        data = _place(images, labels, parts, spec.classes, recipe, device, groups)
        classifier = build(spec, seed=rng.seed(seed, "initialisation"), weights=weights).to(device)
        optimizer = _optimizer(classifier, recipe, device)
        history: list[EpochRow] = []
        best, kept = 0, copy.deepcopy(classifier.state_dict())
        for epoch in range(1, recipe.epochs + 1):
            started = time.perf_counter()
            lr, loss = _epoch(classifier, optimizer, data, recipe, seed, epoch)
            row = _row(epoch, lr, loss, classifier, data, started)
            if not best or _rank(row) > _rank(history[best - 1]):
                best, kept = epoch, copy.deepcopy(classifier.state_dict())
            history.append(row)
            report(row)
        classifier.load_state_dict(kept)
    return Trained(classifier.eval(), tuple(history), best)


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of step `step` (from 0) in epochs of `steps` steps."""
    warmup, total = recipe.warmup_epochs * steps, recipe.epochs * steps
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    share = min(1.0, max(0.0, step - warmup) / max(1.0, total - warmup))
    return recipe.lr * rise * (1 + math.cos(math.pi * share)) / 2


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """(classes,) weights with a mean of 1 over the images of `labels`."""
    counts = torch.bincount(labels, minlength=classes)
    if (counts == 0).any():
        raise ModelUnusable(
            found=f"class number {int((counts == 0).nonzero()[0])} has no training image.",
            why="A class that is never seen cannot be learnt, and its weight would be infinite.",
            then="Split again with a larger training part, or leave the class out of the dataset.",
        )
    return len(labels) / (classes * counts.float())


def capped(index: Tensor, labels: Tensor, groups: Tensor | None, most: int | None) -> Tensor:
    """At most `most` of the images in `index` of every group and class, evenly spaced."""
    if groups is None or most is None:
        return index
    place, kept = _blocks(index, labels, groups), []
    for block in range(int(place.max()) + 1):
        own = index[place == block]
        step = torch.linspace(0, len(own) - 1, min(most, len(own))).round().long()
        kept.append(own[step])
    return torch.cat(kept).sort().values


def group_weights(index: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    """(n,) weights of all images: within a class every group weighs the same in total, and the mean is 1."""
    place, own = _blocks(index, labels, groups), labels[index]
    sizes = torch.bincount(place).float()
    many = torch.zeros(int(own.max()) + 1)  # groups of each class
    for label in torch.unique(own):
        many[label] = len(torch.unique(place[own == label]))
    found = torch.ones(len(labels))
    found[index] = torch.bincount(own).float()[own] / (many[own] * sizes[place])
    return found


def _blocks(index: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    """A number for every image of `index`: one per group and class."""
    _, place = torch.unique(torch.stack([groups[index], labels[index]]), dim=1, return_inverse=True)
    return torch.as_tensor(place)


def _epoch(
    classifier: Classifier, optimizer: Optimizer, data: Data, recipe: Recipe, seed: int, epoch: int
) -> tuple[float, float]:
    """One pass over the training images: the last learning rate and the mean loss."""
    classifier.train()
    torch.manual_seed(rng.seed(seed, "dropout", epoch))  # forked: the caller's stream comes back
    changes = Generator().manual_seed(rng.seed(seed, "augmentation", epoch))
    batches = list(_batches(data.train, recipe.batch, Generator().manual_seed(rng.seed(seed, "order", epoch))))
    total, lr = torch.zeros((), device=data.images.device), 0.0
    for number, index in enumerate(batches):
        lr = learning_rate(recipe, (epoch - 1) * len(batches) + number, len(batches))
        for group in optimizer.param_groups:
            group["lr"] = lr
        pictures = augment(data.images[index].float() / 255, recipe, changes)
        logits = classifier(pictures)
        loss = _loss(logits, data, index, recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        total += loss.detach() * len(index)
    mean = float(total) / len(data.train)  # the only wait for the device in an epoch
    if not math.isfinite(mean):
        raise ModelUnusable(
            found=f"the training loss of {classifier.spec.timm} became {mean} in epoch {epoch} (learning rate {lr:.2g}).",
            why="Weights that are not finite answer nothing, and no later epoch mends them.",
            then="Lower recipe.lr, lengthen recipe.warmup_epochs, or start from pretrained weights.",
        )
    return lr, mean


def _loss(logits: Tensor, data: Data, index: Tensor, smoothing: float) -> Tensor:
    labels = data.labels[index]
    if data.shares is None:
        return functional.cross_entropy(logits, labels, data.weights, label_smoothing=smoothing)
    each = functional.cross_entropy(logits, labels, data.weights, label_smoothing=smoothing, reduction="none")
    whole = data.shares[index] * (data.weights[labels] if data.weights is not None else 1)
    return (each * data.shares[index]).sum() / whole.sum()


def _batches(index: Tensor, size: int, order: Generator) -> Iterator[Tensor]:
    """A new order in batches of nearly equal size: a last batch of one would upset batch normalisation."""
    shuffled = index[torch.randperm(len(index), generator=order).to(index.device)]
    return iter(shuffled.tensor_split(math.ceil(len(index) / size)))


def _row(epoch: int, lr: float, loss: float, classifier: Classifier, data: Data, started: float) -> EpochRow:
    logits = predict(classifier, data.images[data.val], chunk=CHUNK, device=data.images.device)
    truth = data.labels[data.val].cpu()
    right = (logits.argmax(dim=1) == truth).float()
    recalls = [right[truth == label].mean() for label in torch.unique(truth)]
    return EpochRow(
        epoch=epoch,
        lr=lr,
        train_loss=loss,
        val_loss=float(functional.cross_entropy(logits, truth)),
        val_accuracy=float(right.mean()),
        val_balanced_accuracy=float(torch.stack(recalls).mean()),
        seconds=time.perf_counter() - started,
    )


def _rank(row: EpochRow) -> tuple[float, float]:
    return row.val_balanced_accuracy, -row.val_loss


def _optimizer(classifier: Classifier, recipe: Recipe, device: torch.device) -> AdamW:
    """Biases and the scales of normalisations do not decay: pulling them to zero is no simpler model."""
    trained = [p for p in classifier.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=recipe.lr, fused=device.type in ("cpu", "cuda"))


def _place(
    images: Tensor,
    labels: Tensor,
    parts: Mapping[str, Tensor],
    classes: int,
    recipe: Recipe,
    device: torch.device,
    groups: Tensor | None,
) -> Data:
    shares = (
        group_weights(parts["train"], labels, groups).to(device)
        if recipe.group_weights and groups is not None
        else None
    )
    weights = class_weights(labels[parts["train"]], classes).to(device) if recipe.class_weights else None
    train_index, val_index = parts["train"].to(device), parts["val"].to(device)
    return Data(images.to(device), labels.long().to(device), train_index, val_index, weights, shares)


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
