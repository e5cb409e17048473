"""The network from a layer on: scores of changed activations, without computing again what comes before the layer.

One forward of one image is recorded: the outputs of the modules that stand beside the path to the layer and run before
it (for `layer4` of a ResNet the stem and the three stages before). Then the same network runs with those modules
answering from memory, for as many rows as there are changed activations, and the layer answering with them. Whatever
joins the layer later from around it (a residual, a class token) is thus there too, in any architecture.

A module that runs before the layer and again after it answers from memory only as often as it ran before.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from gradfaith.models.classifier import Classifier, frozen


class Head:
    """What follows a layer, for one image; made by `headed`, of no use outside its `with`."""

    def __init__(self, classifier: Classifier, layer: str) -> None:
        self._classifier, self._layer = classifier, classifier.net.get_submodule(layer)
        self._before: list[tuple[nn.Module, Any]] = []
        self._input: Tensor | None = None  # of the network: the image, normalised
        self._beside = list(_beside(classifier.net, layer))
        self.raw: Tensor | None = None  # the layer's own output for the image

    @torch.no_grad()
    def record(self, image: Tensor) -> None:  # (1, channels, h, w)
        self._before, self._input, self.raw = [], None, None
        with ExitStack() as hooks:
            hooks.callback(self._classifier.net.register_forward_pre_hook(self._enter).remove)
            for module in self._beside:
                hooks.callback(module.register_forward_hook(self._remember).remove)
            hooks.callback(self._layer.register_forward_hook(self._reached).remove)
            self._classifier(image)
        self._corner = image[..., :1, :1]  # stands for the image, which need not be normalised once for every row

    @torch.no_grad()
    def logits(self, changed: Tensor) -> Tensor:  # (m, ...) in the layer's own layout -> (m, classes)
        assert self._input is not None
        rows, whole = len(changed), self._input
        answers: dict[nn.Module, list[Any]] = {self._layer: [changed]}
        for module, output in self._before:
            answers.setdefault(module, []).append(tree_map(lambda part: _repeated(part, rows), output))
        with ExitStack() as stubs:
            for module, outputs in answers.items():
                stubs.enter_context(_answering(module, outputs))
            entering = self._classifier.net.register_forward_pre_hook(lambda *_: (whole.expand(rows, -1, -1, -1),))
            stubs.callback(entering.remove)
            logits: Tensor = self._classifier(self._corner.expand(rows, -1, -1, -1))
        return logits

    def _enter(self, _net: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (self._input,) = inputs

    def _remember(self, module: nn.Module, _inputs: object, output: object) -> None:
        if self.raw is None:
            self._before.append((module, output))

    def _reached(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self.raw = output.detach().clone()


@contextmanager
def headed(classifier: Classifier, layer: str) -> Iterator[Head]:
    """The head of one layer, parameters frozen and every module evaluating."""
    with frozen(classifier):
        yield Head(classifier, layer)


def _beside(net: nn.Module, layer: str) -> Iterator[nn.Module]:
    """The children of every module on the path to the layer, but for those on the path."""
    module = net
    for part in layer.split("."):
        yield from (child for name, child in module.named_children() if name != part)
        module = module.get_submodule(part)


def _repeated(part: Any, rows: int) -> Any:
    return part.expand(rows, *part.shape[1:]) if isinstance(part, Tensor) and part.ndim and len(part) == 1 else part


@contextmanager
def _answering(module: nn.Module, outputs: list[Any]) -> Iterator[None]:
    """A module that answers from memory, in order, and computes once its memory is used up."""
    waiting, compute = iter(outputs), module.forward
    nothing = object()

    def forward(*args: Any, **words: Any) -> Any:
        known = next(waiting, nothing)
        return compute(*args, **words) if known is nothing else known

    kept: Callable[..., Any] | None = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if kept is not None:
            module.forward = kept
