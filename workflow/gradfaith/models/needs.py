"""What methods need, made from a classifier and some images: each thing once for all methods that ask for it.

    with needs.meeting(classifier, images, layers) as meet:      one forward with every layer tapped
        supply = meet.asked(target, rows)                        one short backward for every target and kind of score
        method.attribute(supply.tap(layer), ...)

Plain forwards of changed images, and of the head, are cut into pieces that fit (device.Chunk).
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import cast

import torch
from torch import Generator, Tensor, nn

from gradfaith.device import Chunk, settle
from gradfaith.methods import contract
from gradfaith.methods.contract import Asked, Build, Curvature, Rows, Score, Tap
from gradfaith.models import taps
from gradfaith.models.attention import Attended, attend
from gradfaith.models.build import Classifier
from gradfaith.models.head import headed


class Meeting:
    """One batch of images; made by `meeting`, of no use outside its `with`."""

    def __init__(self, classifier: Classifier, images: Tensor, tapped: taps.Tapped | None, chunk: Chunk) -> None:
        self.classifier, self.images, self.tapped, self.chunk = classifier, images, tapped, chunk

    def asked(self, target: Tensor, rows: Rows, kind: Score) -> "Supply":
        """One target class for each of some of the images."""
        return Supply(self, target, rows, kind)

    @cached_property
    def attended(self) -> Attended:
        """A forward of its own, for all targets: plain attention would make the taps' slower."""
        return attend(self.classifier, self.images)


class Supply:
    """What methods need of one target class per image."""

    def __init__(self, meeting: Meeting, target: Tensor, rows: Rows, kind: Score) -> None:
        self._meeting, self._target, self._rows, self._kind = meeting, target, rows, kind
        whole = len(rows) == len(meeting.images)
        self.images = meeting.images if whole else meeting.images[rows]
        self._chosen = None if whole else rows
        self._seconds = 0.0

    def backward(self) -> float:
        """Seconds that the gradients of all layers took, which their methods share."""
        _ = self._answer
        return self._seconds

    def some(self, rows: Rows) -> "Supply":
        """Of some of its images, with the gradients of all of them."""
        return self if len(rows) == len(self.images) else Part(self, rows)

    def tap(self, layer: str) -> Tap:
        return self._answer.tap(layer)

    def curvature(self, layer: str) -> Curvature:
        return self._answer.curvature(layer)

    def head(self, layer: str) -> contract.Head:
        return contract.Head(partial(self._head_scores, layer))

    def attention(self, _layer: str) -> contract.Attention:
        return self._attention

    def image(self, generators: Sequence[Generator]) -> Asked:
        return Asked(
            self.images, self._target, generators, self._scores, self._gradients, lambda: self._slope,
            EveryScore(self._meeting.classifier, self._kind), self._meeting.classifier.mean,
        )  # fmt: skip

    # Each is there once it is asked for, and goes with the supply: a graph in a cycle would wait for the collector.
    @cached_property
    def _answer(self) -> taps.Answer:
        started = time.perf_counter()
        answer = self._tapped().ask(self._target, rows=self._chosen, kind=self._kind)
        settle(self.images.device)
        self._seconds = time.perf_counter() - started
        return answer

    @cached_property
    def _attention(self) -> contract.Attention:
        return self._meeting.attended.ask(self._target, rows=self._chosen, kind=self._kind)

    @cached_property
    def _slope(self) -> Tensor:
        return self._gradients(lambda some: self.images[some], torch.arange(len(self.images)))

    def _tapped(self) -> taps.Tapped:
        assert self._meeting.tapped is not None, "a layer is asked of a meeting that taps none"
        return self._meeting.tapped

    def _head_scores(self, layer: str, image: int, count: int, build: Build) -> Tensor:  # (count,)
        meeting, layout = self._meeting, self._tapped().layout(layer)
        with headed(meeting.classifier, layer) as head:
            head.record(self.images[image : image + 1])
            raw = cast("Tensor", head.raw)

            def work(some: slice) -> Tensor:
                changed = build(some)
                before = raw.expand(len(changed), *raw.shape[1:])
                logits = head.logits(layout.undo(changed.to(raw.dtype), before))
                return self._score(logits, self._target[image].expand(len(changed)))

            # Activations are smaller than images, and the head is short.
            return torch.cat([scores for _, scores in meeting.chunk.pieces(count, work, times=8)])

    def _scores(self, build: Build, rows: Rows) -> Tensor:  # (m,)
        def work(some: slice) -> Tensor:
            with torch.no_grad():
                return self._score(self._meeting.classifier(build(some)), self._target[rows[some]])

        return torch.cat([scores for _, scores in self._meeting.chunk.pieces(len(rows), work)])

    def _gradients(self, build: Build, rows: Rows) -> Tensor:  # (m, c, h, w)
        def work(some: slice) -> Tensor:
            with torch.enable_grad():
                images = build(some).detach().requires_grad_()
                scores = self._score(self._meeting.classifier(images), self._target[rows[some]])
                return torch.autograd.grad(scores.sum(), images)[0]

        return torch.cat([found for _, found in self._meeting.chunk.pieces(len(rows), work)])

    def _score(self, logits: Tensor, target: Tensor) -> Tensor:
        return contract.score(logits, target, self._kind)


class Part(Supply):
    """Some images of a supply of all images: their taps come from its one backward."""

    def __init__(self, whole: Supply, rows: Rows) -> None:
        super().__init__(whole._meeting, whole._target[rows], rows, whole._kind)
        self._whole, self._part = whole, rows

    def tap(self, layer: str) -> Tap:
        tap = self._whole.tap(layer)
        return Tap(tap.activation[self._part], tap.gradient[self._part], tap.score[self._part])


class EveryScore(nn.Module):
    """Images -> a score for every class, for methods that need a module."""

    def __init__(self, classifier: Classifier, kind: Score) -> None:
        super().__init__()
        self.classifier, self.kind = classifier, kind

    def forward(self, images: Tensor) -> Tensor:  # (n, c, h, w) -> (n, k)
        logits: Tensor = self.classifier(images)
        if self.kind == "logit":
            return logits
        classes = torch.arange(logits.shape[1], device=logits.device)
        return torch.stack([contract.score(logits, c.expand(len(logits)), self.kind) for c in classes], dim=1)


@contextmanager
def meeting(
    classifier: Classifier, images: Tensor, layers: Sequence[str], *, chunk: Chunk, curved: bool = False
) -> Iterator[Meeting]:
    """Images met by a classifier whose layers are tapped, parameters frozen, every module evaluating."""
    if not layers:
        with taps.frozen(classifier):
            yield Meeting(classifier, images, None, chunk)
        return
    with taps.tapped(classifier, *layers, curved=curved) as tapped:
        tapped.forward(images)
        yield Meeting(classifier, images, tapped, chunk)
