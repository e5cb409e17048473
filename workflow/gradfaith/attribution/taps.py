"""Taps: layers of any timm network as `(n, c, h, w)`, with the gradient of a class's score with respect to each.

    with tapped(classifier, "layer2", "layer4") as tap:
        logits = tap.forward(images)
        early = tap.ask(logits.argmax(1)).tap("layer2")

The first of the layers to run is replaced by a leaf that asks for a gradient, while every parameter is frozen: the graph
holds only what follows it, one backward gives the gradients of all layers, and a second target costs a second short
backward, not a second forward. Deeper layers are kept as they stand in that graph.

What is kept is a clone, and the network goes on with another, so activations that work in place after the layer
change neither. (A hook that keeps `output.detach()`, as is common, later reads values an in-place ReLU has changed.)

`curved` keeps what a second derivative needs: from the first layer on, attention runs in its plain form, since the fused
kernels have no second derivative.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradfaith.attribution import layer_grids
from gradfaith.attribution.contract import Curvature, Rows, Tap, score
from gradfaith.attribution.layer_grids import Layout, unusable
from gradfaith.models.classifier import Classifier, frozen
from gradfaith.models.layers import resolve
from gradfaith.vocabulary import Score


class Tapped:
    """A classifier with some layers tapped; made by `tapped`, of no use outside its `with`."""

    def __init__(self, classifier: Classifier, layers: tuple[str, ...], *, curved: bool) -> None:
        self.classifier, self.curved = classifier, curved
        self.layers = tuple(dict.fromkeys(resolve(classifier.net, layer) for layer in layers))
        self._kept: dict[str, Tensor] = {}  # in each layer's own layout
        self._logits: Tensor | None = None
        self._layouts: dict[tuple[str, tuple[int, ...]], Layout] = {}
        self._rest = ExitStack()  # what holds from the first layer to the end of a forward

    def forward(self, images: Tensor) -> Tensor:  # (n, channels, h, w) -> (n, classes)
        self.forget()
        with ExitStack() as hooks:
            for layer in self.layers:
                hook = self.classifier.net.get_submodule(layer).register_forward_hook(partial(self._keep, layer))
                hooks.callback(hook.remove)
            self._rest = hooks.enter_context(ExitStack())
            with torch.enable_grad():
                self._logits = self.classifier(images.detach())
        for layer in self.layers:
            if layer not in self._kept:
                raise unusable(layer, "does not run in a forward pass")
            if (rows := len(self._kept[layer])) != len(images):
                raise unusable(layer, f"returns {rows} rows for {len(images)} image(s): windows, not images")
        return self._logits.detach()

    def ask(self, classes: Tensor, *, rows: Rows | None = None, kind: Score = "logit") -> "Answer":
        """One class per row; may be asked again for others. `rows` are the images asked of, all if not given."""
        logits = self._of_forward(self._logits)
        scores = score(logits if rows is None else logits[rows], classes, kind)
        kept = list(self._kept.values())
        # Retained for the next target; the graph goes when the tap forgets it.
        found = (
            torch.autograd.grad(scores.sum(), kept, retain_graph=True, create_graph=self.curved, allow_unused=True)
            if scores.requires_grad
            else [None] * len(kept)
        )
        gradients = {}
        for layer, gradient in zip(self._kept, found, strict=True):
            if gradient is None:
                raise unusable(layer, "has no path to the logits")
            gradients[layer] = gradient
        return Answer(self, scores.detach(), dict(self._kept), gradients, rows)

    def target(self, classes: Tensor) -> Tap:  # (n,)
        """The only layer's tap, for one class per image."""
        (layer,) = self.layers
        return self.ask(classes).tap(layer)

    def layout(self, layer: str | None = None) -> Layout:
        """Of the latest forward; of the only layer, if none is named."""
        (layer,) = self.layers if layer is None else (layer,)
        shape = tuple(self._of_forward(self._kept.get(layer)).shape[1:])
        if (layer, shape) not in self._layouts:
            net = self.classifier.net
            found = layer_grids.of_shape(net, layer, shape)
            self._layouts[layer, shape] = found or layer_grids.by_growth(
                net, layer, shape, _wider(self.classifier, layer)
            )
        return self._layouts[layer, shape]

    def shape(self, layer: str) -> tuple[int, ...]:
        """Of one image's raw output, in the latest forward."""
        return tuple(self._of_forward(self._kept.get(layer)).shape[1:])

    def forget(self) -> None:
        self._kept, self._logits = {}, None

    def _keep(self, layer: str, _module: nn.Module, _inputs: object, output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise unusable(layer, f"returns a {type(output).__name__}, not a tensor")
        if layer in self._kept:
            raise unusable(layer, "runs more than once in a forward pass")
        if not self._kept:
            output = output.detach().clone().requires_grad_()
            if self.curved:
                self._rest.enter_context(sdpa_kernel(SDPBackend.MATH))
        self._kept[layer] = output
        return output.clone()

    @staticmethod
    def _of_forward(found: Tensor | None) -> Tensor:
        if found is None:
            raise RuntimeError("ask a tap for anything only after its forward(), and inside its `with`")
        return found


class Answer:
    """Scores of one class per row, and every layer's gradient; made by `Tapped.ask`."""

    def __init__(
        self, tapped: Tapped, scores: Tensor, kept: dict[str, Tensor], gradients: dict[str, Tensor], rows: Rows | None
    ) -> None:
        self._tapped, self._scores, self._kept, self._gradients, self._rows = tapped, scores, kept, gradients, rows

    def tap(self, layer: str) -> Tap:
        return Tap(
            self._grid(layer, self._kept[layer].detach()),
            self._grid(layer, self._gradients[layer].detach()),
            self._scores,
        )

    def curvature(self, layer: str) -> Curvature:
        return Curvature(partial(self._along, layer))

    def _along(self, layer: str, direction: Tensor) -> Tensor:  # (n, c, h, w) -> (n, c, h, w)
        if not self._tapped.curved:
            raise RuntimeError("a second derivative needs `tapped(..., curved=True)`")
        gradient = self._grid(layer, self._gradients[layer])
        (second,) = (
            torch.autograd.grad((gradient * direction).sum(), self._kept[layer], retain_graph=True, allow_unused=True)
            if gradient.requires_grad
            else (None,)
        )
        return torch.zeros_like(direction) if second is None else self._grid(layer, second)

    def _grid(self, layer: str, raw: Tensor) -> Tensor:  # (n, c, h, w), at least in single precision
        found = self._tapped.layout(layer).apply(raw)
        if found.dtype in (torch.bfloat16, torch.float16):
            found = found.float()
        return found if self._rows is None else found[self._rows]


@contextmanager
def tapped(classifier: Classifier, *layers: str, curved: bool = False) -> Iterator[Tapped]:
    """Some layers tapped, parameters frozen, every module evaluating; on leaving, all is as it was."""
    tap = Tapped(classifier, layers, curved=curved)
    with frozen(classifier):
        try:
            yield tap
        finally:
            tap.forget()


def grid(classifier: Classifier, layer: str) -> tuple[int, int]:
    """Height and width of a layer's grid, from one forward of one blank image."""
    with tapped(classifier, layer) as tap:
        tap.forward(_blank(classifier, classifier.spec.size))
        return tap.layout().grid


def _wider(classifier: Classifier, layer: str) -> tuple[int, ...] | None:
    """The shape of a layer's raw output for an image twice as wide; None where the network takes only one size."""
    with tapped(classifier, layer) as tap:
        try:
            tap.forward(_blank(classifier, 2 * classifier.spec.size))
        except (AssertionError, RuntimeError, ValueError):
            return None
        return tap.shape(tap.layers[0])


def _blank(classifier: Classifier, width: int) -> Tensor:  # (1, channels, size, width)
    return torch.zeros(1, classifier.spec.channels, classifier.spec.size, width, device=classifier.mean.device)
