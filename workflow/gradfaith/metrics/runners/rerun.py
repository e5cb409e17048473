"""Runs a battery of metrics that explain again: the method asked for its map of a changed image, or of a changed model.

Each distinct re-run is made once for all metrics (metrics/runners/rerun.py), and re-runs of all methods, changes and imputers share a batch:
the explainer gets changed images and is told whose maps are wanted of which. Images are taken in blocks, so that no more maps
are held at once than belong to about one batch of them. Every method has a map of every row, all in one order.

Constant and broken maps are not asked for again. A map that is not finite when it is asked for again makes its scores "failed";
what a constant one means is the metric's to say. Cost, in re-runs (a forward and a short backward, and the method's own
passes): usable maps x own changes x imputers, and images x shared changes.

What is explained again: every distinct change of some images once, and whose maps are wanted of each.

    own change      x * keep + fill * (1 - keep)     each map changes its own image, so for one map and one imputer
    shared change   x + shift, or another model      the same for every method, so once per image

Changed images are made when their batch's turn comes. Changes of one name must be the same masks, as in the engine.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradfaith.metrics.contract import (
    Again,
    Chosen,
    Explain,
    Maps,
    Reruns,
    Result,
    Stored,
    Trained,
    Values,
    join,
    settle,
)
from gradfaith.metrics.maps.evaluate import Explained
from gradfaith.metrics.runners.masking import Results, to_numpy
from gradfaith.metrics.runners.masking_block import Battery, Block, one_mask
from gradfaith.runtime.batching import Chunk, Most

Answer = tuple[str, str, Any]  # change, imputer ("": nothing is filled), whose map


@dataclass(frozen=True)
class Share:
    """Images changed in one way, and whose maps of them are wanted."""

    change: str
    imputer: str
    whose: tuple[Any, ...]
    rows: Tensor  # (r,) in the block


@dataclass(frozen=True)
class Rows:
    """Some images, each with a class, and the maps that every method has of them."""

    images: Tensor  # (b, c, h, w)
    image_of: Tensor  # (b,) row of the image in the battery's
    target: Tensor  # (b,)
    maps: Mapping[Any, Explained]
    battery: Battery

    @cached_property
    def usable(self) -> Mapping[Any, Tensor]:  # each (u,) rows
        return {name: (~(maps.constant | maps.broken)).nonzero()[:, 0] for name, maps in self.maps.items()}

    def changed(self, share: Share) -> Tensor:  # (r, c, h, w)
        """The images of a share, as its change leaves them."""
        images = self.images[share.rows]
        unit = self.maps[share.whose[0]].unit[share.rows] if share.imputer else torch.zeros_like(images[:, 0])
        nothing = torch.zeros(len(images), 0, device=images.device)
        block = Block(unit, self.image_of[share.rows], self.target[share.rows], images, nothing, self.battery, {})
        asked = chain(*steps(self.battery.metrics, Maps(unit, block.draw)).values())
        same = [step for step in asked if step.name == share.change]
        if share.imputer:
            keep = one_mask(share.change, [step.keep() for step in same if step.keep])
            return block.changed(share.imputer, share.change, keep, slice(None))
        shift = same[0].shift
        return images if shift is None else images + shift(images.shape[1])

    def batch(self, shares: Sequence[Share], model: Trained) -> tuple[Reruns, dict[Any, list[tuple[Answer, int]]]]:
        """What an explainer is asked, and of every method the answers that it will give, with their lengths."""
        wanted: dict[Any, list[Tensor]] = {}
        answers: dict[Any, list[tuple[Answer, int]]] = {}
        start = 0
        for share in shares:
            for name in share.whose:
                own = torch.isin(share.rows, self.usable[name]).nonzero()[:, 0] + start
                if len(own):
                    wanted.setdefault(name, []).append(own)
                    answers.setdefault(name, []).append(((share.change, share.imputer, name), len(own)))
            start += len(share.rows)
        at = torch.cat([share.rows for share in shares])
        known, image_of = self.battery.image_ids, self.image_of[at].tolist()
        reruns = Reruns(
            images=torch.cat([self.changed(share) for share in shares]),
            target=self.target[at],
            image_ids=[known[row] if known else str(row) for row in image_of],
            changes=[share.change for share in shares for _ in share.rows],
            wanted={name: torch.cat(parts) for name, parts in wanted.items()},
            model=model,
        )
        return reruns, answers


def steps(metrics: Chosen, maps: Maps | None = None) -> dict[str, list[Again]]:
    """What every metric asks for, of some maps; of none, only to read the names."""
    maps = maps or Maps(torch.zeros(0, 1, 1), lambda _purpose: torch.zeros(0, 1, 1))
    return {label: list(module.changes(maps, **options)) for label, (module, options) in metrics.items()}


def shares(rows: Rows, model: Trained) -> list[Share]:
    """All that is to be explained again on one model, each change once."""
    asked = chain(*steps(rows.battery.metrics).values())
    distinct = {step.name: step for step in asked if step.model == model}
    anyone = torch.unique(torch.cat(list(rows.usable.values())))
    found = []
    for step in distinct.values():
        if step.of_image:
            found.append(Share(step.name, "", tuple(rows.maps), anyone))
        else:
            for name, own in rows.usable.items():
                found += [Share(step.name, imputer, (name,), own) for imputer in rows.battery.imputers]
    return found


def cut(whole: Sequence[Share], some: slice) -> Iterator[Share]:
    """Some of the rows of all shares, laid end to end."""
    start = 0
    for share in whole:
        first, last = max(some.start - start, 0), min(some.stop - start, len(share.rows))
        if first < last:
            yield replace(share, rows=share.rows[first:last])
        start += len(share.rows)


SILENT = "the method gave no finite map when it was asked again"
MODELS: tuple[Trained, ...] = ("trained", "randomised")
Pair = tuple[str, str]  # metric, imputer ("": it reads none)


def run(
    explain: Explain,
    images: Tensor,  # (n, c, h, w) in [0, 1]
    maps: Mapping[Any, Stored],
    metrics: Chosen,
    imputers: Chosen,
    *,
    mean: Tensor | None = None,  # (c,) of the training images
    image_ids: Sequence[str] = (),
    key: tuple[object, ...] = (),
    chunk: Most = "auto",
    device: torch.device | None = None,
) -> Results:
    """Every metric, with every imputer if it reads one, for the maps of every method."""
    device = device or images.device
    battery = Battery(metrics, imputers, mean, image_ids, key)
    asker, asked = Asker(explain, Chunk(chunk, device)), steps(metrics)
    distinct = {step.name: step for step in chain(*asked.values())}.values()
    own, shared = (sum(step.of_image is one for step in distinct) for one in (False, True))
    together = max(1, own * len(maps) * len(imputers), shared)  # re-runs per row, or maps of one method
    runs = sum(1 if step.of_image else len(imputers) for step in chain(*asked.values()))
    parts: dict[Any, list[dict[Pair, Result]]] = {name: [] for name in maps}
    planned = start = 0
    count = max((len(stored.raw) for stored in maps.values()), default=0)
    while start < count:
        some = slice(start, start + max(1, asker.chunk.rows // together))
        rows = _block(images, maps, some, battery, device)
        answers = asker(rows)
        for name in maps:
            parts[name].append(_scores(rows, name, answers))
            planned += runs * len(rows.usable[name])
        start = some.stop
    of = {name: {pair: join([one[pair] for one in part]) for pair in _pairs(battery)} for name, part in parts.items()}
    return Results(of, {name: {} for name in maps}, planned, asker.done)


@dataclass
class Asker:
    """The explainer, asked in batches that fit."""

    explain: Explain
    chunk: Chunk
    done: int = 0  # images explained again

    def __call__(self, rows: Rows) -> dict[Answer, Tensor]:
        """The maps of every change, in the order of the usable rows."""
        found: dict[Answer, list[Tensor]] = {}
        for model in MODELS:
            whole = shares(rows, model)
            count = sum(len(share.rows) for share in whole)
            for _, part in self.chunk.pieces(count, self._work(rows, whole, model)):
                for answer, maps in part:
                    found.setdefault(answer, []).append(maps)
            self.done += count
        return {answer: torch.cat(maps) for answer, maps in found.items()}

    def _work(self, rows: Rows, whole: Sequence[Share], model: Trained) -> Any:
        def work(some: slice) -> list[tuple[Answer, Tensor]]:
            reruns, answers = rows.batch(list(cut(whole, some)), model)
            maps = self.explain(reruns)
            return [
                (answer, part)
                for name, own in answers.items()
                for (answer, _), part in zip(own, maps[name].split([count for _, count in own]), strict=True)
            ]

        return work


def _block(images: Tensor, maps: Mapping[Any, Stored], some: slice, battery: Battery, device: torch.device) -> Rows:
    """Some rows of every method's maps, on the device."""
    first, size = next(iter(maps.values())), (images.shape[-2], images.shape[-1])
    image_of, target = (torch.as_tensor(column[some], dtype=torch.long) for column in (first.image_of, first.target))
    held = {
        name: Explained(torch.as_tensor(stored.raw[some]).to(device), stored.grid, stored.signed, size)
        for name, stored in maps.items()
    }
    pixels = images[image_of.to(images.device)].to(device)
    return Rows(pixels, image_of.to(device), target.to(device), held, battery)


def _scores(rows: Rows, name: Any, answers: Mapping[Answer, Tensor]) -> dict[Pair, Result]:
    """Every metric's numbers of one method's maps."""
    whole, usable, found = rows.maps[name], rows.usable[name], {}
    flags, before = (whole.constant.cpu().numpy(), whole.broken.cpu().numpy()), whole.of(usable)
    again = {
        (change, imputer): replace(whole, raw=raw) for (change, imputer, whose), raw in answers.items() if whose == name
    }
    asked = steps(rows.battery.metrics)
    for label, imputer in _pairs(rows.battery):
        if not len(usable):
            found[label, imputer] = settle(Values(()), *flags)
            continue
        module, options = rows.battery.metrics[label]
        after = {step.name: again[step.name, "" if step.of_image else imputer] for step in asked[label]}
        silent = torch.stack([maps.broken for maps in after.values()]).any(dim=0).cpu().numpy()
        found[label, imputer] = _settled(to_numpy(module.score(before, after, **options)), silent, *flags)
    return found


def _pairs(battery: Battery) -> list[Pair]:
    return [
        (label, imputer)
        for label, (module, _) in battery.metrics.items()
        for imputer in (battery.imputers if module.METRIC.imputed else ("",))
    ]


def _settled(
    values: Values, silent: NDArray[np.bool_], degenerate: NDArray[np.bool_], broken: NDArray[np.bool_]
) -> Result:
    """A status for every row; where the method was silent, its scores have failed and say so."""
    undefined = np.zeros(len(silent), dtype=bool) if values.undefined is None else values.undefined
    value = np.where(silent, np.nan, values.value)
    found = settle(Values(value, undefined & ~silent, values.reason), degenerate, broken)
    where = np.zeros(len(degenerate), dtype=bool)
    where[~(degenerate | broken)] = silent
    return replace(found, reason=np.where(where, SILENT, found.reason))
