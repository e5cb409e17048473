"""Run the forward and backward passes of methods, each once for all methods that share it.

    with open_shared_passes(classifier, images, layers, chunk=chunk) as shared:   one forward, every layer tapped
        inputs = shared.for_target(target, rows, "logit")      one short backward for each target and kind of score
        method.attribute(inputs.tap(layer), ...)

Forward passes of modified images and of the head are cut into chunks that fit into memory (runtime/device.py). The
chunk size of each kind of pass is found separately. The time of a shared pass is divided among all maps made from it
(attribution/time_ledger.py). The code of the needs "attention" and "head" is imported when a method first needs it.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Generator, Tensor

from gradfaith.attribution import contract, taps
from gradfaith.attribution.contract import BuildCopies, Curvature, ImageInputs, ImageRows, Tap
from gradfaith.attribution.time_ledger import Account, SharedProperty, TimeLedger, clock
from gradfaith.models.classifier import Classifier
from gradfaith.models.layers import freeze_temporarily
from gradfaith.runtime.device import AdaptiveBatch
from gradfaith.vocabulary import Score


class SharedPasses:
    """The passes of one batch of images; made by `open_shared_passes` and valid inside its `with` block only."""

    def __init__(
        self,
        classifier: Classifier,
        images: Tensor,
        chunk: AdaptiveBatch,
        ledger: TimeLedger,
        tapped: taps.TappedClassifier | None,
    ) -> None:
        self.classifier, self.images, self.chunk, self.ledger = classifier, images, chunk, ledger
        self._tapped, self._per_image = tapped, dict[Hashable, tuple[dict[int, Any], Account]]()

    def for_target(self, target: Tensor, rows: ImageRows, kind: Score) -> "MethodInputs":
        """Return the inputs of methods for the images in `rows` (n,), with one target class (n,) for each."""
        return MethodInputs(self, target, rows, kind)

    @SharedProperty
    def tapped_classifier(self) -> taps.TappedClassifier:
        """Run one forward pass with every layer tapped. All targets share it."""
        assert self._tapped is not None, "these shared passes tap no layer"
        self._tapped.forward(self.images)
        return self._tapped

    @SharedProperty
    def attention_pass(self) -> Any:
        """Return an AttentionPass, a separate forward shared by all targets; recording in the tapped pass would slow others down."""
        return contract.load_need("attention").record_attention(self.classifier, self.images)

    def per_image(self, rows: Sequence[int], name: Hashable, make: Callable[[Tensor], Any]) -> list[Any]:
        """Return `make(image)` for every row. Methods and targets that use the same name share the results."""
        made, account = self._per_image.setdefault(name, ({}, Account()))
        with self.ledger.account(account):
            made.update({row: make(self.images[row]) for row in rows if row not in made})
        self.ledger.record_use(account)
        return [made[row] for row in rows]


class MethodInputs:
    """Provides the inputs of methods for one target class per image, with one method per word of `needs`."""

    def __init__(self, shared: SharedPasses, target: Tensor, rows: ImageRows, kind: Score) -> None:
        self._shared, self._target, self._kind = shared, target, kind
        all_images = len(rows) == len(shared.images)
        self.images = shared.images if all_images else shared.images[rows]
        self._rows = None if all_images else rows
        self._row_numbers: list[int] = list(range(len(rows))) if all_images else rows.tolist()

    @property
    def ledger(self) -> TimeLedger:
        return self._shared.ledger

    def subset(self, rows: ImageRows) -> "MethodInputs":
        """Return the inputs of some of the images; they share the backward pass of all of them."""
        return self if len(rows) == len(self.images) else MethodInputsSubset(self, rows)

    def tap(self, layer: str) -> Tap:
        return self._tapped_gradients.tap(layer)

    def curvature(self, layer: str) -> Curvature:
        return self._tapped_gradients.curvature(layer)

    def head(self, layer: str) -> contract.HeadInputs:
        return contract.HeadInputs(partial(self._head_scores, layer))

    def attention(self, _layer: str) -> contract.Attention:
        return replace(self._attention, gradients=lambda: self._attention_gradients)

    def image(self, generators: Sequence[Generator]) -> ImageInputs:
        return ImageInputs(
            self.images, self._target, generators, self._scores, self._gradients, lambda: self._image_gradient,
            contract.ClassScores(self._shared.classifier, self._kind), self._shared.classifier.mean,
            per_image=partial(self._shared.per_image, self._row_numbers), rows_at_once=self._shared.chunk.rows,
        )  # fmt: skip

    # Each is computed on first use and freed with this object: a graph in a reference cycle would wait for garbage collection.
    @SharedProperty
    def _tapped_gradients(self) -> taps.TappedGradients:
        return self._shared.tapped_classifier.backward(self._target, rows=self._rows, kind=self._kind)

    @SharedProperty
    def _attention(self) -> contract.Attention:
        attention: contract.Attention = self._shared.attention_pass.for_target(
            self._target, rows=self._rows, kind=self._kind
        )
        return attention

    @SharedProperty
    def _attention_gradients(self) -> Sequence[Tensor]:
        return self._attention.gradients()

    @SharedProperty
    def _image_gradient(self) -> Tensor:
        return self._gradients(lambda some: self.images[some], torch.arange(len(self.images)))

    def _head_scores(self, layer: str, image: int, count: int, build: BuildCopies) -> Tensor:  # (count,)
        shared, layout = self._shared, self._shared.tapped_classifier.layout(layer)
        with contract.load_need("head").open_head(shared.classifier, layer) as head:
            head.record(self.images[image : image + 1])
            raw = cast("Tensor", head.layer_output)

            def work(some: slice) -> Tensor:
                changed = build(some)
                before = raw.expand(len(changed), *raw.shape[1:])
                logits = head.logits(layout.from_grid(changed.to(raw.dtype), before))
                return self._score(logits, self._target[image].expand(len(changed)))

            # Activations are smaller than images, and the head is short.
            return torch.cat([scores for _, scores in shared.chunk.for_kind("head", scale=8).process(count, work)])

    def _scores(self, build: BuildCopies, rows: ImageRows) -> Tensor:  # (m,)
        def work(some: slice) -> Tensor:
            with torch.no_grad():
                return self._score(self._shared.classifier(build(some)), self._target[rows[some]])

        return torch.cat([scores for _, scores in self._shared.chunk.for_kind("forward").process(len(rows), work)])

    def _gradients(self, build: BuildCopies, rows: ImageRows) -> Tensor:  # (m, c, h, w)
        def work(some: slice) -> Tensor:
            with torch.enable_grad():
                images = build(some).detach().requires_grad_()
                scores = self._score(self._shared.classifier(images), self._target[rows[some]])
                return torch.autograd.grad(scores.sum(), images)[0]

        return torch.cat([found for _, found in self._shared.chunk.for_kind("gradient").process(len(rows), work)])

    def _score(self, logits: Tensor, target: Tensor) -> Tensor:
        return contract.target_score(logits, target, self._kind)


class MethodInputsSubset(MethodInputs):
    """The inputs of some images; their taps are rows of the backward pass of all images."""

    def __init__(self, all_inputs: MethodInputs, rows: ImageRows) -> None:
        super().__init__(all_inputs._shared, all_inputs._target[rows], rows, all_inputs._kind)
        self._all_inputs, self._subset_rows = all_inputs, rows

    def tap(self, layer: str) -> Tap:
        tap, rows = self._all_inputs.tap(layer), self._subset_rows
        return replace(tap, activation=tap.activation[rows], gradient=tap.gradient[rows], score=tap.score[rows])


@contextmanager
def open_shared_passes(
    classifier: Classifier, images: Tensor, layers: Sequence[str], *, chunk: AdaptiveBatch, curved: bool = False,
    ledger: TimeLedger | None = None,
) -> Iterator[SharedPasses]:  # fmt: skip
    """Tap some layers, freeze the parameters and set eval mode. `curved` allows second derivatives.

    `chunk` limits the rows of the methods' own passes. The classifier is restored at the end.
    """
    ledger = ledger or TimeLedger(partial(clock, images.device))
    if not layers:
        with freeze_temporarily(classifier):
            yield SharedPasses(classifier, images, chunk, ledger, None)
        return
    with taps.tap_layers(classifier, *layers, curved=curved) as tapped:
        yield SharedPasses(classifier, images, chunk, ledger, tapped)
