"""Measure how far an image is from the training images of a model, in the features that its last layer reads.

    f(x)      the input of the network's classifier, each feature divided by its standard deviation over training images
    d(x)      the distance of f(x) from the nearest training image of another group
    limit     the QUANTILE of d among the training images themselves

The nearest image of the same group (a patient) is left out on both sides: neighbouring slices of one patient are nearly
the same, and every new patient would seem far away. An image beyond the limit is further from the training images than
99 of 100 of them are from each other, so the model's answer, and its maps, are extrapolations.

What it is not: a test of the answer. About one of 100 images of the training kind is beyond the limit, too. A network may
map a foreign image onto familiar features, and an image within the limit may be classified wrongly.

Cost: a forward pass of at most MOST_IMAGES training images.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradfaith.models.classifier import Classifier
from gradfaith.storage.hdf5 import ImageStore

MOST_IMAGES = 200  # training images
QUANTILE = 0.99
MIN_GROUPS = 2
BATCH = 16
Features = NDArray[np.float64]  # (n, features)


@dataclass(frozen=True)
class Distance:
    """The distance of an image from the training images, and the limit."""

    value: float
    limit: float

    @property
    def far(self) -> bool:
        return self.value > self.limit


@dataclass(frozen=True)
class TrainingFeatures:
    """The features of some training images, with the group of each."""

    features: Features
    groups: NDArray[np.str_]  # (n,)

    def distances(self, features: Features, groups: Sequence[str]) -> list[Distance]:
        """Return the distance of images; `groups`: of each, "" if it is not known. There must be two groups at least."""
        own, limit = (
            np.array(list(map(str, groups))),
            float(np.quantile(self._nearest(self.features, self.groups), QUANTILE)),
        )
        return [Distance(float(value), limit) for value in self._nearest(features, own)]

    def _nearest(self, features: Features, groups: NDArray[np.str_]) -> NDArray[np.float64]:
        """Return the distance from the nearest training image of another group."""
        spread = self.features.std(axis=0)
        kept = spread > 0
        first, second = features[:, kept] / spread[kept], self.features[:, kept] / spread[kept]
        squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None] - 2 * first @ second.T
        squares[groups[:, None] == self.groups[None]] = np.inf
        return np.asarray(np.sqrt(np.maximum(squares.min(axis=1), 0)))


def distances_from_training(
    classifier: Classifier,
    store: ImageStore,
    predictions: pd.DataFrame,
    pixels: NDArray[np.uint8],  # (n, c, h, w)
    groups: Sequence[str],
) -> list[Distance | None]:
    """Return the distance of images; None if there are too few training images to compare with.

    `predictions`: image_id, group and part of the images in `store`; `groups`: of the images, "" if it is not known.
    """
    train = predictions[predictions["part"] == "train"]
    some = train.iloc[
        :: max(1, -(-len(train) // MOST_IMAGES))
    ]  # in the manifest's order: spread over classes and groups
    if some["group"].nunique() < MIN_GROUPS:
        return [None] * len(pixels)
    seen = head_inputs(classifier, store.pixels(list(some["image_id"])))
    training = TrainingFeatures(seen, np.array(list(map(str, some["group"]))))
    return list(training.distances(head_inputs(classifier, pixels), groups))


@torch.inference_mode()
def head_inputs(classifier: Classifier, images: NDArray[np.uint8]) -> Features:
    """Return what the classifier's last layer reads of images (n, c, h, w): (n, features)."""
    classifier.eval()
    rows = []
    with _head_input(classifier.net) as seen:
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[start : start + BATCH]).to(classifier.mean.device).float() / 255
            logits = classifier(batch)
            features = seen.pop() if seen else logits
            rows.append(features.flatten(2).mean(dim=2) if features.ndim > 2 else features)
            seen.clear()
    return np.asarray(torch.cat(rows).double().cpu().numpy())


@contextmanager
def _head_input(net: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the inputs of the network's classifier; nothing if the network does not name one."""
    seen = list[Tensor]()

    def keep(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.append(inputs[0])

    find: Any = getattr(net, "get_classifier", None)
    named = find() if callable(find) else None
    head = named[0] if isinstance(named, tuple | list | nn.ModuleList) else named
    if not isinstance(head, nn.Module):
        yield seen
        return
    handle = head.register_forward_pre_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()
