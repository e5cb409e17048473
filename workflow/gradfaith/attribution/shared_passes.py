"""What methods need, made from a classifier and some images: each thing once for all methods that ask for it.

    with needs.meeting(classifier, images, layers) as meet:      one forward with every layer tapped
        supply = meet.asked(target, rows)                        one short backward for every target and kind of score
        method.attribute(supply.tap(layer), ...)

Plain forwards of changed images, and of the head, are cut into pieces that fit (device.Chunk), each kind into its own. What is
shared is paid for by all maps made from it (attribution/time_ledger.py).
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn

from gradfaith.attribution import contract, taps
from gradfaith.attribution.attention import Attended, attend
from gradfaith.attribution.contract import Asked, Build, Curvature, Rows, Tap
from gradfaith.attribution.head import headed
from gradfaith.attribution.time_ledger import Account, Ledger, Shared, clock
from gradfaith.models import classifier as classifier_models
from gradfaith.models.classifier import Classifier
from gradfaith.runtime.batching import Chunk
from gradfaith.vocabulary import Score


class Meeting:
    """One batch of images; made by `meeting`, of no use outside its `with`."""

    def __init__(
        self, classifier: Classifier, images: Tensor, chunk: Chunk, ledger: Ledger, tapped: taps.Tapped | None
    ) -> None:
        self.classifier, self.images, self.chunk, self.ledger = classifier, images, chunk, ledger
        self._tapped, self._each = tapped, dict[Hashable, tuple[dict[int, Any], Account]]()

    def asked(self, target: Tensor, rows: Rows, kind: Score) -> "Supply":
        """One target class for each of some of the images."""
        return Supply(self, target, rows, kind)

    @Shared
    def tapped(self) -> taps.Tapped:
        """One forward with every layer tapped, for all targets."""
        assert self._tapped is not None, "a layer is asked of a meeting that taps none"
        self._tapped.forward(self.images)
        return self._tapped

    @Shared
    def attended(self) -> Attended:
        """A forward of its own, for all targets: plain attention would make the taps' slower."""
        return attend(self.classifier, self.images)

    def each(self, rows: Sequence[int], name: Hashable, make: Callable[[Tensor], Any]) -> list[Any]:
        """What is made of every image alone, once for all methods and targets that name it alike."""
        made, account = self._each.setdefault(name, ({}, Account()))
        with self.ledger.account(account):
            made.update({row: make(self.images[row]) for row in rows if row not in made})
        self.ledger.used(account)
        return [made[row] for row in rows]


class Supply:
    """What methods need of one target class per image."""

    def __init__(self, meeting: Meeting, target: Tensor, rows: Rows, kind: Score) -> None:
        self._meeting, self._target, self._kind = meeting, target, kind
        whole = len(rows) == len(meeting.images)
        self.images = meeting.images if whole else meeting.images[rows]
        self._chosen = None if whole else rows
        self._places: list[int] = list(range(len(rows))) if whole else rows.tolist()

    @property
    def ledger(self) -> Ledger:
        return self._meeting.ledger

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
        return replace(self._attention, gradients=lambda: self._attention_slopes)

    def image(self, generators: Sequence[Generator]) -> Asked:
        return Asked(
            self.images, self._target, generators, self._scores, self._gradients, lambda: self._slope,
            EveryScore(self._meeting.classifier, self._kind), self._meeting.classifier.mean,
            each=partial(self._meeting.each, self._places),
        )  # fmt: skip

    # Each is there once it is asked for, and goes with the supply: a graph in a cycle would wait for the collector.
    @Shared
    def _answer(self) -> taps.Answer:
        return self._meeting.tapped.ask(self._target, rows=self._chosen, kind=self._kind)

    @Shared
    def _attention(self) -> contract.Attention:
        return self._meeting.attended.ask(self._target, rows=self._chosen, kind=self._kind)

    @Shared
    def _attention_slopes(self) -> Sequence[Tensor]:
        return self._attention.gradients()

    @Shared
    def _slope(self) -> Tensor:
        return self._gradients(lambda some: self.images[some], torch.arange(len(self.images)))

    def _head_scores(self, layer: str, image: int, count: int, build: Build) -> Tensor:  # (count,)
        meeting, layout = self._meeting, self._meeting.tapped.layout(layer)
        with headed(meeting.classifier, layer) as head:
            head.record(self.images[image : image + 1])
            raw = cast("Tensor", head.raw)

            def work(some: slice) -> Tensor:
                changed = build(some)
                before = raw.expand(len(changed), *raw.shape[1:])
                logits = head.logits(layout.undo(changed.to(raw.dtype), before))
                return self._score(logits, self._target[image].expand(len(changed)))

            # Activations are smaller than images, and the head is short.
            return torch.cat([scores for _, scores in meeting.chunk.of("head", times=8).pieces(count, work)])

    def _scores(self, build: Build, rows: Rows) -> Tensor:  # (m,)
        def work(some: slice) -> Tensor:
            with torch.no_grad():
                return self._score(self._meeting.classifier(build(some)), self._target[rows[some]])

        return torch.cat([scores for _, scores in self._meeting.chunk.of("forward").pieces(len(rows), work)])

    def _gradients(self, build: Build, rows: Rows) -> Tensor:  # (m, c, h, w)
        def work(some: slice) -> Tensor:
            with torch.enable_grad():
                images = build(some).detach().requires_grad_()
                scores = self._score(self._meeting.classifier(images), self._target[rows[some]])
                return torch.autograd.grad(scores.sum(), images)[0]

        return torch.cat([found for _, found in self._meeting.chunk.of("gradient").pieces(len(rows), work)])

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
    classifier: Classifier, images: Tensor, layers: Sequence[str], *, chunk: Chunk, curved: bool = False,
    ledger: Ledger | None = None,
) -> Iterator[Meeting]:  # fmt: skip
    """Images met by a classifier whose layers are tapped, parameters frozen, every module evaluating."""
    ledger = ledger or Ledger(partial(clock, images.device))
    if not layers:
        with classifier_models.frozen(classifier):
            yield Meeting(classifier, images, chunk, ledger, None)
        return
    with taps.tapped(classifier, *layers, curved=curved) as tapped:
        yield Meeting(classifier, images, chunk, ledger, tapped)
