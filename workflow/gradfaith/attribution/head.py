"""Run the part of a network after a layer: scores of modified activations, without the layers before it.

One forward of one image is recorded: the outputs of the modules that are beside the path to the layer and run before it
(for `layer4` of a ResNet the stem and the three stages before). Then the same network runs again for each batch of modified
activations. In this run the recorded modules return their recorded outputs, repeated for every row, and the layer returns
the modified activations. So everything that joins the layer's path later (a residual, a class token) is included, for any
architecture.

A module that runs before the layer and again after it returns recorded outputs only as often as it ran before.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from gradfaith.models.classifier import Classifier
from gradfaith.models.layers import freeze_temporarily


class NetworkHead:
    """The part of a network that follows a layer, for one image; made by `open_head`, valid inside its `with` only."""

    def __init__(self, classifier: Classifier, layer: str) -> None:
        self._classifier, self._layer = classifier, classifier.net.get_submodule(layer)
        self._recorded: list[tuple[nn.Module, Any]] = []
        self._input: Tensor | None = None  # of the network: the normalised image
        self._modules_beside_path = list(_modules_beside_path(classifier.net, layer))
        self.layer_output: Tensor | None = None  # the layer's own output for the image

    @torch.no_grad()
    def record(self, image: Tensor) -> None:  # (1, channels, h, w)
        """Run one forward of one image and keep the outputs of the modules before the layer."""
        self._recorded, self._input, self.layer_output = [], None, None
        with ExitStack() as hooks:
            hooks.callback(self._classifier.net.register_forward_pre_hook(self._keep_network_input).remove)
            for module in self._modules_beside_path:
                hooks.callback(module.register_forward_hook(self._record_output).remove)
            hooks.callback(self._layer.register_forward_hook(self._keep_layer_output).remove)
            self._classifier(image)
        self._corner_pixel = image[..., :1, :1]  # replaces the image, so that it is not normalised for every row

    @torch.no_grad()
    def logits(self, changed: Tensor) -> Tensor:  # (m, ...) in the layer's own layout -> (m, classes)
        """Return the logits of modified outputs of the layer."""
        assert self._input is not None
        rows, network_input = len(changed), self._input
        outputs_of: dict[nn.Module, list[Any]] = {self._layer: [changed]}
        for module, output in self._recorded:
            outputs_of.setdefault(module, []).append(tree_map(lambda part: _expand_rows(part, rows), output))
        with ExitStack() as stubs:
            for module, outputs in outputs_of.items():
                stubs.enter_context(_replay_outputs(module, outputs))
            entering = self._classifier.net.register_forward_pre_hook(
                lambda *_: (network_input.expand(rows, -1, -1, -1),)
            )
            stubs.callback(entering.remove)
            logits: Tensor = self._classifier(self._corner_pixel.expand(rows, -1, -1, -1))
        return logits

    def _keep_network_input(self, _net: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (self._input,) = inputs

    def _record_output(self, module: nn.Module, _inputs: object, output: object) -> None:
        if self.layer_output is None:
            self._recorded.append((module, output))

    def _keep_layer_output(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self.layer_output = output.detach().clone()


@contextmanager
def open_head(classifier: Classifier, layer: str) -> Iterator[NetworkHead]:
    """Yield the head of one layer, with frozen parameters and in eval mode."""
    with freeze_temporarily(classifier):
        yield NetworkHead(classifier, layer)


def _modules_beside_path(net: nn.Module, layer: str) -> Iterator[nn.Module]:
    """Yield the children of every module on the path to the layer, except those on the path."""
    module = net
    for part in layer.split("."):
        yield from (child for name, child in module.named_children() if name != part)
        module = module.get_submodule(part)


def _expand_rows(part: Any, rows: int) -> Any:
    return part.expand(rows, *part.shape[1:]) if isinstance(part, Tensor) and part.ndim and len(part) == 1 else part


@contextmanager
def _replay_outputs(module: nn.Module, outputs: list[Any]) -> Iterator[None]:
    """Make a module return these outputs in order; after the last one it computes again."""
    waiting, compute = iter(outputs), module.forward
    nothing = object()

    def forward(*args: Any, **words: Any) -> Any:
        recorded = next(waiting, nothing)
        return compute(*args, **words) if recorded is nothing else recorded

    own_forward: Callable[..., Any] | None = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if own_forward is not None:
            module.forward = own_forward
