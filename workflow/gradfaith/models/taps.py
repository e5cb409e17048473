"""A tap: any layer of any timm network as `(n, c, h, w)`, with the gradient of a logit with respect to it.

    with tapped(classifier, layer) as tap:
        logits = tap.forward(images)
        predicted = tap.target(logits.argmax(1))

The layer's raw output is replaced by a leaf that asks for a gradient, while every parameter is frozen: the graph holds
only what follows the layer (the head), and a second target costs a second short backward, not a second forward.

What is stored is a clone, and the network goes on with another, so activations that work in place after the layer
change neither. (A hook that keeps `output.detach()`, as is common, later reads values an in-place ReLU has changed.)

The layout is derived from the raw output: square images make square grids, so the two equal axes are the grid; where
that leaves a doubt (7 channels on a 7 x 7 grid) a wider image tells which axis grows. Tokens before the grid's own
(class, distillation, registers) are what is left of their number. timm's `forward_intermediates` is no help here: for
many families the map it returns is a side branch without a path to the logits.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradfaith.errors import LayerUnusable
from gradfaith.methods.contract import Tap
from gradfaith.models.build import Classifier
from gradfaith.models.layers import resolve

_MOST_PREFIX_TOKENS = 16


@dataclass(frozen=True)
class Layout:
    """How a raw output becomes (n, c, h, w)."""

    kind: str  # "nchw", "nhwc" or "tokens"
    grid: tuple[int, int]
    prefix: int = 0  # tokens before the grid's own

    def apply(self, raw: Tensor) -> Tensor:  # (n, c, h, w)
        if self.kind == "nchw":
            return raw
        if self.kind == "tokens":
            raw = raw[:, self.prefix :].reshape(len(raw), *self.grid, raw.shape[-1])
        return raw.permute(0, 3, 1, 2)


class Tapped:
    """A classifier with one layer tapped; made by `tapped`, of no use outside its `with`."""

    def __init__(self, classifier: Classifier, layer: str) -> None:
        self.classifier = classifier
        self.layer = resolve(classifier.net, layer)
        self._leaf: Tensor | None = None  # in the layer's own layout
        self._logits: Tensor | None = None
        self._layouts: dict[tuple[int, ...], Layout] = {}

    def forward(self, images: Tensor) -> Tensor:  # (n, channels, h, w) -> (n, classes)
        self.forget()
        handle = self.classifier.net.get_submodule(self.layer).register_forward_hook(self._keep)
        try:
            with torch.enable_grad():
                self._logits = self.classifier(images.detach())
        finally:
            handle.remove()
        if self._leaf is None:
            raise _unusable(self.layer, "does not run in a forward pass")
        if len(self._leaf) != len(images):
            raise _unusable(
                self.layer, f"returns {len(self._leaf)} rows for {len(images)} image(s): windows, not images"
            )
        return self._logits.detach()

    def target(self, classes: Tensor) -> Tap:  # (n,)
        """Activation, gradient and logit for one class per image; may be asked again for other classes."""
        leaf, score = self._raw(), self._score(classes)
        # Retained for the next target; the graph goes when the tap forgets it.
        found = (
            torch.autograd.grad(score.sum(), leaf, retain_graph=True, allow_unused=True) if score.requires_grad else ()
        )
        if not found or found[0] is None:
            raise _unusable(self.layer, "has no path to the logits")
        layout = self.layout()
        return Tap(layout.apply(leaf.detach()), layout.apply(found[0]), score.detach())

    def layout(self) -> Layout:
        """Of the latest forward."""
        raw = self._raw()
        shape = tuple(raw.shape[1:])
        if shape not in self._layouts:
            self._layouts[shape] = _layout(self.classifier, self.layer, shape)
        return self._layouts[shape]

    def forget(self) -> None:
        self._leaf = self._logits = None

    def _keep(self, _module: nn.Module, _inputs: object, output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise _unusable(self.layer, f"returns a {type(output).__name__}, not a tensor")
        if self._leaf is not None:
            raise _unusable(self.layer, "runs more than once in a forward pass")
        self._leaf = output.detach().clone().requires_grad_()
        return self._leaf.clone()

    def _raw(self) -> Tensor:
        if self._leaf is None:
            raise RuntimeError("ask a tap for anything only after its forward(), and inside its `with`")
        return self._leaf

    def _score(self, classes: Tensor) -> Tensor:  # (n,)
        assert self._logits is not None
        return self._logits.gather(1, classes[:, None])[:, 0]


@contextmanager
def tapped(classifier: Classifier, layer: str) -> Iterator[Tapped]:
    """One layer tapped, parameters frozen, every module evaluating; on leaving, all is as it was."""
    tap = Tapped(classifier, layer)
    training = {module for module in classifier.modules() if module.training}
    trainable = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    try:
        if training:
            classifier.eval()
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield tap
    finally:
        tap.forget()
        for parameter in trainable:
            parameter.requires_grad_(True)
        if training:
            classifier.train()  # networks that keep something while evaluating drop it here
            for module in classifier.modules():
                module.training = module in training


def grid(classifier: Classifier, layer: str) -> tuple[int, int]:
    """Height and width of a layer's grid, from one forward of one blank image."""
    with tapped(classifier, layer) as tap:
        tap.forward(_blank(classifier, classifier.spec.size))
        return tap.layout().grid


def _blank(classifier: Classifier, width: int) -> Tensor:  # (1, channels, size, width)
    return torch.zeros(1, classifier.spec.channels, classifier.spec.size, width, device=classifier.mean.device)


def _layout(classifier: Classifier, layer: str, shape: tuple[int, ...]) -> Layout:
    if len(shape) == 2:
        return _tokens(classifier.net, layer, shape[0])
    if len(shape) != 3:
        raise _unusable(layer, f"returns {shape} for one image, which has no grid")
    first, middle, last = shape
    if middle == last != first:
        kind = "nchw"
    elif first == middle != last:
        kind = "nhwc"
    else:
        kind = _by_wider_image(classifier, layer, shape)
    return Layout(kind, (middle, last) if kind == "nchw" else (first, middle))


def _by_wider_image(classifier: Classifier, layer: str, shape: tuple[int, ...]) -> str:
    """Which axis grows with the image's width; a network of one size only says it of itself, in `output_fmt`."""
    grown = None
    with tapped(classifier, layer) as tap:
        try:
            tap.forward(_blank(classifier, 2 * classifier.spec.size))
            grown = [
                axis for axis, (one, two) in enumerate(zip(shape, tap._raw().shape[1:], strict=True)) if one != two
            ]
        except (AssertionError, RuntimeError, ValueError):
            declared = str(getattr(classifier.net, "output_fmt", "")).lower()
            grown = {"nchw": [2], "nhwc": [1]}.get(declared)
    if grown not in ([1], [2]):
        raise _unusable(layer, f"returns {shape} for one image, and which axes are the grid cannot be told")
    return "nchw" if grown == [2] else "nhwc"


def _tokens(net: nn.Module, layer: str, count: int) -> Layout:
    """The patch grid where the network states it, else the one square that fits."""
    stated = getattr(getattr(net, "patch_embed", None), "grid_size", None)
    if stated is not None and 0 <= count - math.prod(stated) <= _MOST_PREFIX_TOKENS:
        return Layout("tokens", (int(stated[0]), int(stated[1])), count - math.prod(stated))
    fitting = [
        Layout("tokens", (side, side), prefix)
        for prefix in sorted({0, int(getattr(net, "num_prefix_tokens", 0))})
        if (side := math.isqrt(max(count - prefix, 0))) and side * side == count - prefix
    ]
    if len(fitting) != 1:
        raise _unusable(layer, f"returns {count} tokens for one image, which fit {len(fitting)} square grids")
    return fitting[0]


def _unusable(layer: str, what: str) -> LayerUnusable:
    return LayerUnusable(
        found=f'Layer "{layer}" {what}.',
        why="A map needs one activation per image, on a grid, from which the logits are computed.",
        then="Name another layer with `layer:`, or leave it out for the family's default.",
    )
