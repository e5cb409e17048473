"""What is learnt, how fast, and what is kept still: AdamW, a warm-up and a cosine, frozen layers, slower early ones.

    lr(step)  = lr * min(1, (step + 1) / warmup) * (1 + cos(pi * t)) / 2,    t: the share done of what follows the warm-up
    lr of a group of layers = lr(step) * layer_decay ** (groups after it)                                       [bao2022]
    average   = d * average + (1 - d) * weights,    d = min(ema, (1 + step) / (10 + step))

Groups of layers are timm's own: for freezing the coarse ones (stem, stages), for the decay the fine ones (blocks). Frozen
layers are in evaluation mode too: their batch norms stay as they were, and the dropouts inside them rest. A dropout that
stands straight under the network (a ViT's `pos_drop`) is in no layer and goes on. The average runs over weights and
batch-norm statistics alike; its decay starts low, so that the random beginning is soon forgotten.

The loss of a batch, and what each image weighs in it: by its class, by its group, and blended with another.

    loss   = sum_i v_i CE(f(x_i), y_i) / sum_i v_i,    v_i = class weight * group weight
    class  : n / (classes * its images)
    group  : images of its class / (groups of the class * images of its group), so that all groups count alike
    mixup  : x = s x_i + (1 - s) x_j,  loss = s loss_i + (1 - s) loss_j,  one s ~ Beta(a, a) and one pairing per batch   [zhang2018mixup]

A batch computed in pieces has the loss of the whole one: each piece is weighed by its share of sum v.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer

from gradfaith import rng
from gradfaith.config.training import Recipe
from gradfaith.errors import ModelUnusable
from gradfaith.models.classifier import Classifier
from gradfaith.models.timm_import import timm


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of step `step` (from 0) in epochs of `steps` steps."""
    warmup, total = recipe.warmup_epochs * steps, recipe.epochs * steps
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    share = min(1.0, max(0.0, step - warmup) / max(1.0, total - warmup))
    return recipe.lr * rise * (1 + math.cos(math.pi * share)) / 2


def set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def optimizer(classifier: Classifier, recipe: Recipe, device: torch.device) -> AdamW:
    """Biases and the scales of normalisations do not decay: pulling them to zero is no simpler model."""
    trained = [p for p in classifier.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.layer_decay < 1:
        from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]  # after `vision`, which imports timm safely

        groups = param_groups_layer_decay(
            classifier.net, weight_decay=recipe.weight_decay, layer_decay=recipe.layer_decay
        )
    return AdamW(groups, lr=recipe.lr, fused=device.type in ("cpu", "cuda"))


def freeze(classifier: Classifier, asked: int | str) -> list[nn.Module]:
    """Keep the weights of the first `asked` groups of layers, or of the whole backbone; returns the modules that are still."""
    if asked == 0:
        return []
    still = _backbone(classifier) if asked == "backbone" else _first(classifier, int(asked))
    for name, parameter in classifier.net.named_parameters():
        parameter.requires_grad_(name not in still)
    return [
        module
        for module in classifier.net.modules()
        if (own := list(module.parameters())) and not any(parameter.requires_grad for parameter in own)
    ]


def _backbone(classifier: Classifier) -> set[str]:
    heads = classifier.net.pretrained_cfg["classifier"]  # type: ignore[index]
    heads = (heads,) if isinstance(heads, str) else tuple(heads or ())
    names = {name for name, _ in classifier.net.named_parameters()}
    return {name for name in names if not name.startswith(tuple(f"{head}." for head in heads))}


def _first(classifier: Classifier, many: int) -> set[str]:
    net = classifier.net
    matcher = getattr(net, "group_matcher", None)
    place: Mapping[str, int] = (
        timm.models.group_parameters(net, matcher(coarse=True), reverse=True) if matcher is not None else {}
    )
    before_head = max(place.values(), default=0)
    if many > before_head:
        raise ModelUnusable(
            found=f"recipe.freeze: {many}, and {classifier.spec.timm} has {before_head} groups of layers before its head.",
            why="With all of them still, and the head too, nothing would be learnt.",
            then=f"Freeze at most {before_head}, or say `freeze: backbone`.",
        )
    return {name for name, group in place.items() if group < many}


class Average:
    """A second classifier whose weights follow those of the first."""

    def __init__(self, classifier: Classifier, decay: float) -> None:
        self.classifier, self._decay = copy.deepcopy(classifier).eval(), decay

    @torch.no_grad()
    def follow(self, classifier: Classifier, step: int) -> None:
        """One step (from 0) was done."""
        pairs = zip(self.classifier.state_dict().values(), classifier.state_dict().values(), strict=True)
        own, new = map(list, zip(*pairs, strict=True))
        real = [place for place, value in enumerate(own) if value.is_floating_point()]
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_([own[place] for place in real], [new[place] for place in real], share)
        for place in set(range(len(own))) - set(real):  # counters
            own[place].copy_(new[place])


def state_of(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimiser's moments by the number of their parameter and their name."""
    return {
        f"{number}.{name}": value
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore(optimizer: Optimizer, state: Mapping[str, Tensor]) -> None:
    """Put moments back, each in the order of memory of its parameter: another order may round otherwise."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    whole = optimizer.state_dict()
    for key, value in state.items():
        number, name = key.split(".", 1)
        parameter = parameters[int(number)]
        alike = value.shape == parameter.shape
        laid = torch.empty_like(parameter, device="cpu").copy_(value) if alike else value
        whole["state"].setdefault(int(number), {})[name] = laid.detach()
    optimizer.load_state_dict(whole)


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
