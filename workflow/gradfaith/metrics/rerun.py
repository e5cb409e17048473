"""Runs a battery of metrics that explain again: the method asked for its map of a changed image, or of a changed model.

Each distinct re-run is made once for all metrics (metrics/again.py), and re-runs of all methods, changes and imputers share a batch:
the explainer gets changed images and is told whose maps are wanted of which. Images are taken in blocks, so that no more maps
are held at once than belong to about one batch of them. Every method has a map of every row, all in one order.

Constant and broken maps are not asked for again. A map that is not finite when it is asked for again makes its scores "failed";
what a constant one means is the metric's to say. Cost, in re-runs (a forward and a short backward, and the method's own
passes): usable maps x own changes x imputers, and images x shared changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradfaith.device import Chunk, Most
from gradfaith.metrics.again import Answer, Rows, Share, cut, shares, steps
from gradfaith.metrics.block import Battery
from gradfaith.metrics.contract import Chosen, Explain, Result, Stored, Trained, Values, join, settle
from gradfaith.metrics.engine import Results, to_numpy
from gradfaith.metrics.explained import Explained

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
