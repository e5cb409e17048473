"""Small networks of any timm name, noise to feed them, and the state that a pass must leave as it was."""

from typing import Any

import torch
from torch import Tensor, nn

from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier


def make(name: str, size: int, **options: Any) -> Classifier:
    spec = ClassifierSpec(name, classes=3, channels=1, in_chans=3, size=size, mean=0.5, std=0.25, options=options)
    classifier = build_classifier(spec, seed=3)
    with torch.no_grad():  # some heads start at zero, and nothing would have a gradient
        for parameter in classifier.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02, generator=torch.Generator().manual_seed(0))
    return classifier


def noise(count: int, size: int, seed: int = 0) -> Tensor:  # (n, 1, h, w)
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed))


def state(classifier: Classifier) -> list[object]:
    modules = [(module.training, len(module._forward_hooks)) for module in classifier.modules()]
    return [*modules, *((parameter.requires_grad, parameter.grad) for parameter in classifier.parameters())]


def slow_route(classifier: Classifier, layer: str, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, raw output and raw gradient by autograd through the whole network, nothing frozen."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        seen.append(output)
        return output.clone()

    handle = classifier.net.get_submodule(layer).register_forward_hook(keep)
    logits = classifier.eval()(images.clone().requires_grad_())
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[torch.arange(len(images)), classes].sum(), seen[0])
    return logits.detach(), seen[0].detach(), gradient
