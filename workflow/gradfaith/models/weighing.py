"""The loss of a batch, and what each image weighs in it: by its class, by its group, and blended with another.

    loss   = sum_i v_i CE(f(x_i), y_i) / sum_i v_i,    v_i = class weight * group weight
    class  : n / (classes * its images)
    group  : images of its class / (groups of the class * images of its group), so that all groups count alike
    mixup  : x = s x_i + (1 - s) x_j,  loss = s loss_i + (1 - s) loss_j,  one s ~ Beta(a, a) and one pairing per batch   [zhang2018mixup]

A batch computed in pieces has the loss of the whole one: each piece is weighed by its share of sum v.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gradfaith import rng
from gradfaith.errors import ModelUnusable


@dataclass(frozen=True)
class Weighing:
    """The labels of all images of a study, and what they weigh."""

    labels: Tensor  # (n,)
    classes: Tensor | None  # (classes,)
    images: Tensor | None  # (n,)
    smoothing: float

    def loss(self, logits: Tensor, index: Tensor, whole: Tensor) -> Tensor:
        """What the images `index` add to the loss of the batch `whole`."""
        mean = self._mean(logits, self.labels[index], index)
        return mean if len(index) == len(whole) else mean * (self._total(index) / self._total(whole))

    def _mean(self, logits: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        if self.images is None:
            return functional.cross_entropy(logits, labels, self.classes, label_smoothing=self.smoothing)
        each = functional.cross_entropy(logits, labels, self.classes, label_smoothing=self.smoothing, reduction="none")
        return (each * self.images[index]).sum() / self._total(index)

    def _total(self, index: Tensor) -> Tensor:
        by_class = self.classes[self.labels[index]] if self.classes is not None else torch.ones_like(index).float()
        return (by_class if self.images is None else self.images[index] * by_class).sum()


@dataclass(frozen=True)
class Blend:
    """How a batch is blended: each image with the one in the place `partner`, of which it keeps `share`."""

    partner: Tensor  # (n,) places in the batch
    share: float

    def pictures(self, pictures: Tensor) -> Tensor:
        return self.share * pictures + (1 - self.share) * pictures[self.partner]


def blend(alpha: float, many: int, device: torch.device, *key: object) -> Blend | None:
    """The blend of one batch, from a stream of its own; none where the recipe asks for none."""
    if not alpha:
        return None
    draw = rng.generator(*key)
    share = float(draw.beta(alpha, alpha))
    return Blend(torch.from_numpy(draw.permutation(many)).to(device), share)


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
    """At most `most` of the images in `index` of every group and class, evenly spaced from first to last; of one, the middle."""
    if groups is None or most is None:
        return index
    place, kept = _blocks(index, labels, groups), []
    for block in range(int(place.max()) + 1):
        own = index[place == block]
        step = torch.linspace(0, len(own) - 1, min(most, len(own))).round().long()
        kept.append(own[step] if most > 1 else own[len(own) // 2, None])
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
