"""Read activations of layers of any timm network as `(n, c, h, w)`, and the gradients of a score by them.

    with tap_layers(classifier, "layer2", "layer4") as tap:
        logits = tap.forward(images)
        early = tap.backward(logits.argmax(1)).tap("layer2")

The output of the first layer to run is replaced by a leaf tensor that requires a gradient, while every parameter is
frozen. So the graph contains only what follows that layer: one backward gives the gradients of all layers, and a second
target class costs a second short backward, not a second forward. Deeper layers are read as nodes of that graph. A layer
of a parallel branch, which does not follow the first, is a leaf as well.

The hook stores a clone of the output and passes another clone on, so an activation that works in place after the layer
changes neither. (The common hook that stores `output.detach()` later reads values that an in-place ReLU has changed.)
`curved` allows second derivatives: from the first layer on, attention runs in its plain form, because the fused kernels
have no second derivative.

A raw output becomes a grid by its shape. Square images give square grids, so the two equal axes are the grid. If that
is ambiguous (7 channels on a 7 x 7 grid), a wider image is run, and the axis that grows is the width. Tokens beyond
those of the grid are prefix tokens (class, distillation, registers). Inside the blocks of Hiera the tokens are ordered
by mask unit, not row by row: timm's own `reroll` gives the cell of each token. timm's `forward_intermediates` is not
used: for many families it returns the map of a side branch without a path to the logits.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradfaith.attribution.contract import Curvature, ImageRows, Tap, target_score
from gradfaith.errors import LayerUnusable
from gradfaith.models.classifier import Classifier
from gradfaith.models.layers import freeze_temporarily, resolve_layer, skip_unread_tokens
from gradfaith.vocabulary import Score

_MOST_PREFIX_TOKENS, _CLASS_TOKENS = 16, ("cls_token", "class_token")


@dataclass(frozen=True)
class GridLayout:
    """Which axes of a layer's raw output are channels and grid; converts it to (n, c, h, w) and back."""

    kind: Literal["nchw", "nhwc", "tokens"]
    grid: tuple[int, int]
    prefix_tokens: int = 0  # number of tokens before those of the grid
    order: tuple[int, ...] = ()  # the token of each cell, row by row; empty: tokens are in row order

    def to_grid(self, raw: Tensor) -> Tensor:  # (n, c, h, w)
        """Return a raw output as a grid, without its prefix tokens."""
        if self.kind == "nchw":
            return raw
        if self.kind == "tokens":
            raw = raw[:, self.prefix_tokens :]
            raw = raw[:, list(self.order)] if self.order else raw
            raw = raw.reshape(len(raw), *self.grid, raw.shape[-1])
        return raw.permute(0, 3, 1, 2)

    def from_grid(self, grid: Tensor, raw: Tensor) -> Tensor:
        """Return a grid (n, c, h, w) in the layer's own layout; its prefix tokens are those of `raw`."""
        if self.kind == "nchw":
            return grid
        last = grid.permute(0, 2, 3, 1)
        if self.kind == "nhwc":
            return last
        tokens = last.flatten(1, 2)
        tokens = tokens[:, sorted(range(len(self.order)), key=self.order.__getitem__)] if self.order else tokens
        return torch.cat([raw[:, : self.prefix_tokens], tokens], dim=1)


def layout_of_shape(net: nn.Module, layer: str, shape: tuple[int, ...]) -> GridLayout | None:
    """Return the layout of a raw output from the shape of one row; None if a wider image is needed to decide."""
    if len(shape) == 2:
        return _tokens(net, layer, shape[0])
    if len(shape) != 3:
        raise unusable_layer(layer, f"returns {shape} for one image, which has no grid")
    first, middle, last = shape
    if middle == last != first:
        return GridLayout("nchw", (middle, last))
    return GridLayout("nhwc", (first, middle)) if first == middle != last else None


def layout_by_growth(net: nn.Module, layer: str, shape: tuple[int, ...], wider: tuple[int, ...] | None) -> GridLayout:
    """Return the layout from the axes that grew with a wider image, or from `output_fmt` if only one size works."""
    if wider is None:
        declared = str(getattr(net, "output_fmt", "")).lower()
        grown = {"nchw": [2], "nhwc": [1]}.get(declared)
    else:
        grown = [axis for axis, (one, two) in enumerate(zip(shape, wider, strict=True)) if one != two]
    if grown == [2]:
        return GridLayout("nchw", (shape[1], shape[2]))
    if grown == [1]:
        return GridLayout("nhwc", (shape[0], shape[1]))
    raise unusable_layer(layer, f"returns {shape} for one image, and which of its axes are the grid is ambiguous")


def _tokens(net: nn.Module, layer: str, count: int) -> GridLayout:
    """Return the layout of tokens: the network's own patch grid, else the one square grid that fits."""
    stated = getattr(getattr(net, "patch_embed", None), "grid_size", None)
    if stated is not None and 0 <= count - math.prod(stated) <= _MOST_PREFIX_TOKENS:
        return GridLayout("tokens", (int(stated[0]), int(stated[1])), count - math.prod(stated))
    fitting = [
        GridLayout("tokens", (side, side), prefix, _token_order(net, layer, count))
        for prefix in sorted({0, int(getattr(net, "num_prefix_tokens", 0)), *_class_tokens(net)})
        if (side := math.isqrt(max(count - prefix, 0))) and side * side == count - prefix
    ]
    if len(fitting) != 1:
        raise unusable_layer(layer, f"returns {count} tokens for one image, which fit {len(fitting)} square grids")
    return fitting[0]


def _class_tokens(net: nn.Module) -> set[int]:
    """Return the number of tokens of each class token, because not every network states `num_prefix_tokens`."""
    own = [one for name, one in net.named_parameters(recurse=False) if name.startswith(_CLASS_TOKENS)]
    return {parameter.shape[1] for parameter in own if parameter.ndim == 3}


def _token_order(net: nn.Module, layer: str, count: int) -> tuple[int, ...]:
    """Return the token of each cell if Hiera has unrolled its tokens; empty if they are in row order."""
    reroll: Any = getattr(net, "reroll", None)
    if reroll is None or not layer.startswith(("unroll", "blocks.")):
        return ()
    fitting = [block for block, (_, size) in reroll.schedule.items() if math.prod(size) == count]
    order = reroll(torch.arange(count).reshape(1, count, 1), fitting[0]).flatten().tolist() if fitting else []
    return () if order == list(range(count)) else tuple(order)


def unusable_layer(layer: str, what: str) -> LayerUnusable:
    """Return the error for a layer without a map; `what` continues 'Layer "x" ...'."""
    return LayerUnusable(
        problem=f'Layer "{layer}" {what}.',
        reason="A map needs one activation per image, on a grid, from which the logits are computed.",
        fix="Set `layer:` in the study to another layer, or remove it to use the default layer of the architecture.",
    )


class TappedClassifier:
    """A classifier with some layers tapped; made by `tap_layers` and valid inside its `with` block only."""

    def __init__(self, classifier: Classifier, layers: tuple[str, ...], *, curved: bool) -> None:
        self.classifier, self.curved = classifier, curved
        self.layers = tuple(dict.fromkeys(resolve_layer(classifier.net, layer) for layer in layers))
        self._outputs: dict[str, Tensor] = {}  # layer -> its output, in the layer's own layout
        self._logits: Tensor | None = None
        self._layouts: dict[tuple[str, tuple[int, ...]], GridLayout] = {}
        self._attention_mode = ExitStack()  # open from the first layer to the end of a forward

    def forward(self, images: Tensor) -> Tensor:  # (n, channels, h, w) -> (n, classes)
        """Run a forward pass that keeps the layers' outputs, and return the logits."""
        self.clear()
        with ExitStack() as hooks:
            for layer in self.layers:
                module = self.classifier.net.get_submodule(layer)
                hooks.callback(module.register_forward_hook(partial(self._keep, layer)).remove)
            hooks.enter_context(skip_unread_tokens(self.classifier.net, self.layers))
            self._attention_mode = hooks.enter_context(ExitStack())
            with torch.enable_grad():
                self._logits = self.classifier(images.detach())
        for layer in self.layers:
            if layer not in self._outputs:
                raise unusable_layer(layer, "does not run in a forward pass")
            if (rows := len(self._outputs[layer])) != len(images):
                raise unusable_layer(layer, f"returns {rows} rows for {len(images)} image(s): windows, not images")
        return self._logits.detach()

    def backward(self, classes: Tensor, *, rows: ImageRows | None = None, kind: Score = "logit") -> "TappedGradients":
        """Run a backward pass from one class per row. `rows` selects images (default: all). It can be called again."""
        logits = self._of_forward(self._logits)
        scores = target_score(logits if rows is None else logits[rows], classes, kind)
        outputs = list(self._outputs.values())
        # The graph is retained for the next target; `clear` frees it.
        found = (
            torch.autograd.grad(scores.sum(), outputs, retain_graph=True, create_graph=self.curved, allow_unused=True)
            if scores.requires_grad
            else [None] * len(outputs)
        )
        gradients = {}
        for layer, gradient in zip(self._outputs, found, strict=True):
            if gradient is None:
                raise unusable_layer(layer, "has no path to the logits")
            gradients[layer] = gradient
        return TappedGradients(self, scores.detach(), dict(self._outputs), gradients, rows)

    def single_tap(self, classes: Tensor) -> Tap:  # (n,)
        """Return the tap of the only tapped layer, for one class per image."""
        (layer,) = self.layers
        return self.backward(classes).tap(layer)

    def layout(self, layer: str | None = None) -> GridLayout:
        """Return the layout of a layer's output in the latest forward; by default of the only tapped layer."""
        (layer,) = self.layers if layer is None else (layer,)
        shape = tuple(self._of_forward(self._outputs.get(layer)).shape[1:])
        if (layer, shape) not in self._layouts:
            net = self.classifier.net
            found = layout_of_shape(net, layer, shape)
            self._layouts[layer, shape] = found or layout_by_growth(
                net, layer, shape, _raw_shape_of_wide_image(self.classifier, layer)
            )
        return self._layouts[layer, shape]

    def activation(self) -> Tensor:  # (n, c, h, w)
        """Return the only tapped layer's output of the latest forward, as a grid."""
        (layer,) = self.layers
        return self.layout().to_grid(self._of_forward(self._outputs.get(layer)).detach()).float()

    def raw_shape(self, layer: str) -> tuple[int, ...]:
        """Return the shape of one image's raw output in the latest forward."""
        return tuple(self._of_forward(self._outputs.get(layer)).shape[1:])

    def clear(self) -> None:
        """Free the outputs and the graph of the latest forward."""
        self._outputs, self._logits = {}, None

    def _keep(self, layer: str, _module: nn.Module, _inputs: object, output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise unusable_layer(layer, f"returns a {type(output).__name__}, not a tensor")
        if layer in self._outputs:
            raise unusable_layer(layer, "runs more than once in a forward pass")
        if not output.requires_grad:  # the first layer, and layers of parallel branches, which do not follow it
            output = output.detach().clone().requires_grad_()
        if self.curved and not self._outputs:
            self._attention_mode.enter_context(sdpa_kernel(SDPBackend.MATH))
        self._outputs[layer] = output
        return output.clone()

    @staticmethod
    def _of_forward(found: Tensor | None) -> Tensor:
        assert found is not None, "ask a tap for anything only after its forward(), and inside its `with`"
        return found


@dataclass(frozen=True)
class TappedGradients:
    """Scores of one class per row, and every layer's gradient; made by `TappedClassifier.backward`."""

    tapped: TappedClassifier
    scores: Tensor
    outputs: dict[str, Tensor]
    gradients: dict[str, Tensor]
    rows: ImageRows | None

    def tap(self, layer: str) -> Tap:
        activation, gradient = (self._grid(layer, found[layer].detach()) for found in (self.outputs, self.gradients))
        return Tap(activation, gradient, self.scores, self.tapped.layout(layer).kind == "nhwc")

    def curvature(self, layer: str) -> Curvature:
        return Curvature(partial(self._hessian_product, layer))

    def _hessian_product(self, layer: str, direction: Tensor) -> Tensor:  # (n, c, h, w) -> (n, c, h, w)
        if not self.tapped.curved:
            raise RuntimeError("a second derivative needs `tap_layers(..., curved=True)`")
        gradient = self._grid(layer, self.gradients[layer])
        (second,) = (
            torch.autograd.grad((gradient * direction).sum(), self.outputs[layer], retain_graph=True, allow_unused=True)
            if gradient.requires_grad
            else (None,)
        )
        return torch.zeros_like(direction) if second is None else self._grid(layer, second)

    def _grid(self, layer: str, raw: Tensor) -> Tensor:  # (n, c, h, w), at least in single precision
        found = self.tapped.layout(layer).to_grid(raw)
        found = found.float() if found.dtype in (torch.bfloat16, torch.float16) else found
        return found if self.rows is None else found[self.rows]


@contextmanager
def tap_layers(classifier: Classifier, *layers: str, curved: bool = False) -> Iterator[TappedClassifier]:
    """Tap some layers, freeze the parameters and set eval mode; the classifier is restored at the end."""
    tap = TappedClassifier(classifier, layers, curved=curved)
    with freeze_temporarily(classifier):
        try:
            yield tap
        finally:
            tap.clear()


def layer_grid(classifier: Classifier, layer: str) -> tuple[int, int]:
    """Return height and width of a layer's grid, from one forward of a blank image."""
    with tap_layers(classifier, layer) as tap:
        tap.forward(_blank_image(classifier, classifier.spec.size))
        return tap.layout().grid


def _raw_shape_of_wide_image(classifier: Classifier, layer: str) -> tuple[int, ...] | None:
    """Return a layer's raw output shape for an image twice as wide; None if the network takes only one size."""
    with tap_layers(classifier, layer) as tap:
        try:
            tap.forward(_blank_image(classifier, 2 * classifier.spec.size))
        except (AssertionError, RuntimeError, ValueError):
            return None
        return tap.raw_shape(tap.layers[0])


def _blank_image(classifier: Classifier, width: int) -> Tensor:  # (1, channels, size, width)
    return torch.zeros(1, classifier.spec.channels, classifier.spec.size, width, device=classifier.mean.device)
