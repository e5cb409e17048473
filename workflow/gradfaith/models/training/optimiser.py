"""Build the optimiser and the loss of a training: AdamW, learning-rate schedule, frozen layers, loss weights, mixup.

    lr(step)  = lr * min(1, (step + 1) / warmup) * (1 + cos(pi * t)) / 2,    t: share done of the steps after the warm-up
    lr of a group of layers = lr(step) * layer_decay ** (groups after it)                                       [bao2022]
    average   = d * average + (1 - d) * weights,    d = min(ema, (1 + step) / (10 + step))

    loss   = sum_i v_i CE(f(x_i), y_i) / sum_i v_i,    v_i = class weight * group weight
    class  : n / (classes * its images)
    group  : images of its class / (groups of the class * images of its group), so that all groups have equal weight
    mixup  : x = s x_i + (1 - s) x_j,  loss = s loss_i + (1 - s) loss_j,
             one s ~ Beta(a, a) and one pairing per batch                                                 [zhang2018mixup]

Groups of layers are timm's own: the coarse ones (stem, stages) for freezing, the fine ones (blocks) for the decay. Frozen
layers run in eval mode (fixed batch-norm statistics, no dropout). A dropout that is a direct child of the network (a
ViT's `pos_drop`) belongs to no layer and stays active. The average includes weights and batch-norm statistics; its decay
starts low, so that the random initial weights lose their influence soon.

A batch computed in pieces has the loss of the complete batch: each piece is weighted by its share of sum v.
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
from gradfaith.config.sections import Recipe
from gradfaith.errors import ModelUnusable
from gradfaith.models.classifier import Classifier
from gradfaith.models.layers import head_names
from gradfaith.models.timm_import import timm


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Return the learning rate of step `step` (from 0, over all epochs) in epochs of `steps` steps."""
    warmup, total = recipe.warmup_epochs * steps, recipe.epochs * steps
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    share = min(1.0, max(0.0, step - warmup) / max(1.0, total - warmup))
    return recipe.lr * rise * (1 + math.cos(math.pi * share)) / 2


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of every parameter group, times the group's `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def build_optimizer(classifier: Classifier, recipe: Recipe, device: torch.device) -> AdamW:
    """Build AdamW over the parameters that are not frozen.

    Biases and the scales of normalisations have no weight decay, because smaller values make no simpler model.
    """
    trained = [p for p in classifier.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.layer_decay < 1:
        from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]  # after timm_import, which imports timm safely

        groups = param_groups_layer_decay(
            classifier.net, weight_decay=recipe.weight_decay, layer_decay=recipe.layer_decay
        )
        if classifier.decoder is not None:  # after the network, so with the full learning rate
            groups.append({"params": list(classifier.decoder.parameters()), "weight_decay": recipe.weight_decay})
    return AdamW(groups, lr=recipe.lr, fused=device.type in ("cpu", "cuda"))


def freeze_layers(classifier: Classifier, groups: int | str) -> list[nn.Module]:
    """Freeze the first `groups` groups of layers, or all but the head ("backbone"); return the frozen modules."""
    if groups == 0:
        return []
    frozen = _backbone_parameters(classifier) if groups == "backbone" else _first_layer_groups(classifier, int(groups))
    for name, parameter in classifier.net.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return [
        module
        for module in classifier.net.modules()
        if (parameters := list(module.parameters())) and not any(parameter.requires_grad for parameter in parameters)
    ]


def _backbone_parameters(classifier: Classifier) -> set[str]:
    """Return the names of all parameters outside the head."""
    heads = head_names(classifier.net)
    names = {name for name, _ in classifier.net.named_parameters()}
    return {name for name in names if not name.startswith(tuple(f"{head}." for head in heads))}


def _first_layer_groups(classifier: Classifier, count: int) -> set[str]:
    """Return the names of the parameters in the first `count` groups of layers."""
    net = classifier.net
    matcher = getattr(net, "group_matcher", None)
    group_of: Mapping[str, int] = (
        timm.models.group_parameters(net, matcher(coarse=True), reverse=True) if matcher is not None else {}
    )
    before_head = max(group_of.values(), default=0)
    if count > before_head:
        raise ModelUnusable(
            problem=f"training.freeze is {count}, but {classifier.spec.name} has {before_head} groups of layers before its head.",
            reason="Only groups before the head can be frozen: a network without trainable layers learns nothing.",
            fix=f"Set `training.freeze` in the study to at most {before_head}, or to `backbone`.",
        )
    return {name for name, group in group_of.items() if group < count}


class WeightAverage:
    """An exponential moving average (EMA) of the weights of a classifier, as a second classifier."""

    def __init__(self, classifier: Classifier, decay: float) -> None:
        self.classifier, self._decay = copy.deepcopy(classifier).eval(), decay

    @torch.no_grad()
    def update(self, classifier: Classifier, step: int) -> None:
        """Move the average towards the weights after step `step` (from 0)."""
        pairs = zip(self.classifier.state_dict().values(), classifier.state_dict().values(), strict=True)
        average, new = map(list, zip(*pairs, strict=True))
        floats = [place for place, value in enumerate(average) if value.is_floating_point()]
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_([average[place] for place in floats], [new[place] for place in floats], share)
        for place in set(range(len(average))) - set(floats):  # counters
            average[place].copy_(new[place])


def optimizer_state(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's moments by "<number of the parameter>.<name of the moment>"."""
    return {
        f"{number}.{name}": value
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimizer(optimizer: Optimizer, state: Mapping[str, Tensor]) -> None:
    """Load moments, each in the memory layout of its parameter, because another layout may round differently."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state_dict = optimizer.state_dict()
    for key, value in state.items():
        number, name = key.split(".", 1)
        parameter = parameters[int(number)]
        same_shape = value.shape == parameter.shape
        moment = torch.empty_like(parameter, device="cpu").copy_(value) if same_shape else value
        state_dict["state"].setdefault(int(number), {})[name] = moment.detach()
    optimizer.load_state_dict(state_dict)


@dataclass(frozen=True)
class LossWeights:
    """The labels of all images of a study, and their weights in the loss."""

    labels: Tensor  # (n,)
    class_weights: Tensor | None  # (classes,)
    image_weights: Tensor | None  # (n,)
    label_smoothing: float

    def loss(self, logits: Tensor, index: Tensor, batch: Tensor) -> Tensor:
        """Return the share of the images `index` in the loss of `batch`; both are image numbers."""
        mean = self._mean(logits, self.labels[index], index)
        return mean if len(index) == len(batch) else mean * (self._total_weight(index) / self._total_weight(batch))

    def _mean(self, logits: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        weights, smoothing = self.class_weights, self.label_smoothing
        if self.image_weights is None:
            return functional.cross_entropy(logits, labels, weights, label_smoothing=smoothing)
        each = functional.cross_entropy(logits, labels, weights, label_smoothing=smoothing, reduction="none")
        return (each * self.image_weights[index]).sum() / self._total_weight(index)

    def _total_weight(self, index: Tensor) -> Tensor:
        weights = self.class_weights
        by_class = weights[self.labels[index]] if weights is not None else torch.ones_like(index).float()
        return (by_class if self.image_weights is None else self.image_weights[index] * by_class).sum()


@dataclass(frozen=True)
class Mixup:
    """The mixup of one batch: image i keeps `share` of itself and receives the rest from image `partner[i]`."""

    partner: Tensor  # (n,) places in the batch
    share: float

    def mix_images(self, images: Tensor) -> Tensor:  # (n, c, h, w)
        """Return the mixed images."""
        return self.share * images + (1 - self.share) * images[self.partner]


def draw_mixup(alpha: float, batch_size: int, device: torch.device, *key: object) -> Mixup | None:
    """Draw the mixup of one batch from a random stream of its own, named by `key`; None if `alpha` is 0."""
    if not alpha:
        return None
    draw = rng.generator(*key)
    share = float(draw.beta(alpha, alpha))
    return Mixup(torch.from_numpy(draw.permutation(batch_size)).to(device), share)


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Return class weights (classes,) with a mean of 1 over the images of `labels` (n,)."""
    counts = torch.bincount(labels, minlength=classes)
    if (counts == 0).any():
        raise ModelUnusable(
            problem=f"class number {int((counts == 0).nonzero()[0])} of the dataset's `classes:` (counted from 0) has no training image.",
            reason="A class without training images cannot be learnt, and its weight would be infinite.",
            fix="Set a larger training part in the study's split, or remove the class from the dataset.",
        )
    return len(labels) / (classes * counts.float())


def limit_images_per_group(index: Tensor, labels: Tensor, groups: Tensor | None, limit: int | None) -> Tensor:
    """Return at most `limit` of the images in `index` of every group and class.

    They are evenly spaced from the first to the last image; with a limit of 1, the middle one.
    """
    if groups is None or limit is None:
        return index
    codes, kept = _group_class_codes(index, labels, groups), []
    for code in range(int(codes.max()) + 1):
        members = index[codes == code]
        step = torch.linspace(0, len(members) - 1, min(limit, len(members))).round().long()
        kept.append(members[step] if limit > 1 else members[len(members) // 2, None])
    return torch.cat(kept).sort().values


def group_weights(index: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    """Return weights (n,) of all images: within a class every group has the same total weight, and the mean is 1."""
    codes, classes = _group_class_codes(index, labels, groups), labels[index]
    sizes = torch.bincount(codes).float()
    n_groups = torch.zeros(int(classes.max()) + 1)  # of each class
    for label in torch.unique(classes):
        n_groups[label] = len(torch.unique(codes[classes == label]))
    weights = torch.ones(len(labels))
    weights[index] = torch.bincount(classes).float()[classes] / (n_groups[classes] * sizes[codes])
    return weights


def _group_class_codes(index: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    """Number the combinations of group and class, and return the number of every image of `index`."""
    _, codes = torch.unique(torch.stack([groups[index], labels[index]]), dim=1, return_inverse=True)
    return torch.as_tensor(codes)
