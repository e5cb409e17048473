"""What is learnt, how fast, and what is kept still: AdamW, a warm-up and a cosine, frozen layers, slower early ones.

    lr(step)  = lr * min(1, (step + 1) / warmup) * (1 + cos(pi * t)) / 2,    t: the share done of what follows the warm-up
    lr of a group of layers = lr(step) * layer_decay ** (groups after it)                                       [bao2022]
    average   = d * average + (1 - d) * weights,    d = min(ema, (1 + step) / (10 + step))

Groups of layers are timm's own: for freezing the coarse ones (stem, stages), for the decay the fine ones (blocks). Frozen
layers are in evaluation mode too: their batch norms stay as they were, and the dropouts inside them rest. A dropout that
stands straight under the network (a ViT's `pos_drop`) is in no layer and goes on. The average runs over weights and
batch-norm statistics alike; its decay starts low, so that the random beginning is soon forgotten.
"""

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from gradfaith.errors import ModelUnusable
from gradfaith.models.build import Classifier
from gradfaith.models.recipe import Recipe
from gradfaith.models.vision import timm


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
