"""Compares the maps of two models image by image, and says what chance would give: numpy only.

    reference       each seed with the lowest one; the reference is not compared with itself
    pairs           all S (S - 1) / 2 pairs of seeds of an architecture
    architectures   all A (A - 1) / 2 pairs of architectures, seed by seed (scoring/across_architectures.py)
    ensemble        each model with the mean map of all others (metrics/runners/ensemble.py)
    between-images  chance level of each: an image's map in one model with the maps of other images in the other, same
                    class, another group. One row per image: the mean over its partners, `partners` of them (all, where
                    there are fewer), drawn from (key, image id), so the same for every pair, method and order

All models explain the true class. In "pairs" and "between-images" seed < seed2; in "reference" seed2 is the reference, and the
metric always reads the lower seed first. Cost: m S (S - 1) / 2 (1 + partners) scores, 0.03 to 0.4 ms each at 224 x 224.

One model's maps of one method, as agreement metrics compare them.

    grid "input"     evaluated maps, at the image's size (metrics/maps/evaluate.py)
    grid "native"    raw maps with their sign, on their own grid or on a coarser one that another model shares

What a metric makes of a map (where it reaches a threshold, how its cells rank) is made once for all the models it is
compared with, a chunk of maps at a time. A constant map is degenerate and one that is not finite broken, on the grid where
it is read: a signed map without a positive pixel is constant once evaluated, and still has an order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith.errors import StudyInvalid
from gradfaith.metrics.contract import Chosen, Result, Values, settle
from gradfaith.metrics.maps.evaluate import Evaluated, evaluate
from gradfaith.metrics.maps.rank_correlation import Cells, coarsest, level, regrid
from gradfaith.rng import generator
from gradfaith.vocabulary import Grid

OneMetric = tuple[ModuleType, Mapping[str, Any]]
CHUNK = 128


@dataclass(frozen=True)
class Kept:
    """What one metric keeps of every map of a side, and which of them say nothing."""

    stack: NDArray[Any]  # (m, ...)
    degenerate: NDArray[np.bool_]  # (m,)
    broken: NDArray[np.bool_]  # (m,)
    absent: NDArray[np.bool_]  # (m,): there is no map

    @property
    def fit(self) -> NDArray[np.bool_]:
        return ~(self.degenerate | self.broken | self.absent)

    def rows(self, rows: NDArray[np.int64]) -> "Kept":
        return Kept(self.stack[rows], self.degenerate[rows], self.broken[rows], self.absent[rows])


@dataclass(frozen=True, eq=False)
class Side:
    """The maps, the images they explain, and what has been kept of them."""

    raw: NDArray[Any]  # (m, h0, w0)
    grid: Grid
    signed: bool
    size: Cells  # of the images
    image_ids: Sequence[str]
    made: dict[tuple[str, Cells], Kept] = field(default_factory=dict)

    @property
    def cells(self) -> Cells:
        return (self.raw.shape[1], self.raw.shape[2])

    def kept(self, label: str, metric: OneMetric, cells: Cells) -> Kept:
        """What the study's metric keeps; `cells`: the grid on which raw maps are compared."""
        module, options = metric
        key = (label, cells if module.METRIC.grid == "native" else self.size)
        if key not in self.made:
            read = [
                self.read(module.METRIC.grid, cells, slice(start, start + CHUNK))
                for start in range(0, len(self.raw), CHUNK)
            ]
            stack = np.concatenate([module.ready(some.unit, **options) for some in read])
            degenerate, broken = (
                np.concatenate([getattr(some, flag) for some in read]) for flag in Evaluated._fields[1:]
            )
            self.made[key] = Kept(stack, degenerate, broken, np.zeros(len(stack), dtype=bool))
        return self.made[key]

    def read(self, grid: Grid, cells: Cells, rows: slice) -> Evaluated:
        """Some of the maps on the grid a metric asks for; zeros where one is not finite."""
        if grid == "input":
            return evaluate(self.raw[rows], grid=self.grid, signed=self.signed, size=self.size)
        raw = self.raw[rows]
        broken = ~np.isfinite(raw).all(axis=(1, 2))
        whole = np.where(broken[:, None, None], 0, raw)
        return Evaluated(regrid(whole, cells), level(whole) & ~broken, broken)


REFERENCE, PAIRS, CHANCE = "reference", "pairs", "between-images"
PARTNERS = 8
NO_PARTNER = "no map of another image of its class, in another group, to compare with"


@dataclass(frozen=True)
class Agreement:
    """One metric on one pair of models: a result per image."""

    metric: str
    variant: str
    seed: int
    seed2: int
    result: Result


@dataclass(frozen=True)
class Shown:
    """The images on which models are compared."""

    image_ids: Sequence[str]
    groups: Sequence[str]
    labels: Sequence[Any]


def agree(
    sides: Mapping[int, Side], shown: Shown, metrics: Chosen, *, partners: int = PARTNERS, key: tuple[object, ...] = ()
) -> list[Agreement]:
    """Every metric on every pair of seeds of one architecture, in its three variants."""
    if len(sides) < 2:
        raise StudyInvalid(
            found=f"agreement was asked for models of one seed: {list(sides)}.",
            why="A model cannot agree with itself.",
            then="Give the study two seeds or more, or leave its agreement metrics out.",
        )
    others, found, lowest = choose_partners(shown, partners, key), list[Agreement](), min(sides)
    for low, high in combinations(sorted(sides), 2):
        for label, same, chance in compare(sides[low], sides[high], shown, metrics, others):
            if low == lowest:
                found.append(Agreement(label, REFERENCE, high, low, same))
            found.append(Agreement(label, PAIRS, low, high, same))
            found.append(Agreement(label, CHANCE, low, high, chance))
    return found


def compare(
    first: Side, second: Side, shown: Shown, metrics: Chosen, others: NDArray[np.int64]
) -> Iterator[tuple[str, Result, Result]]:
    """Per metric: the agreement on the images shown, and its chance level."""
    cells, rows = coarsest((first.cells, second.cells)), [_places(side, shown) for side in (first, second)]
    for label, metric in metrics.items():
        here, there = (
            side.kept(label, metric, cells).rows(own) for side, own in zip((first, second), rows, strict=True)
        )
        yield label, on_same_images(here, there, metric), between_images(here, there, metric, others)


def choose_partners(shown: Shown, partners: int, key: tuple[object, ...]) -> NDArray[np.int64]:
    """Rows of each image's partners, (m, partners); -1 where the class has no more images in other groups."""
    ids, groups, labels = (np.asarray(column) for column in (shown.image_ids, shown.groups, shown.labels))
    by_id = np.argsort(ids)
    chosen = np.full((len(ids), partners), -1, dtype=np.int64)
    for row, image_id in enumerate(shown.image_ids):
        able = by_id[(labels[by_id] == labels[row]) & (groups[by_id] != groups[row])]
        drawn = generator(*key, CHANCE, image_id).permutation(len(able))[:partners]
        chosen[row, : len(drawn)] = able[drawn]
    return chosen


def on_same_images(first: Kept, second: Kept, metric: OneMetric, *, reason: str = "") -> Result:
    """Row by row; `reason`: why a map may be absent."""
    degenerate, broken = first.degenerate | second.degenerate, first.broken | second.broken
    absent = (first.absent | second.absent)[~(degenerate | broken)]
    rows = np.flatnonzero(first.fit & second.fit)
    found = _score(first, rows, second, rows, metric)
    value, undefined = np.zeros(len(absent)), absent.copy()
    value[~absent], undefined[~absent] = found.value, found.undefined
    return settle(Values(value, undefined, np.where(absent, reason, found.reason)), degenerate, broken)


def between_images(first: Kept, second: Kept, metric: OneMetric, others: NDArray[np.int64]) -> Result:
    """The mean over the partners whose score exists."""
    total, count = np.zeros(len(others)), np.zeros(len(others), dtype=np.int64)
    here, there = first.fit, second.fit
    for partner in others.T:
        rows = np.flatnonzero((partner >= 0) & here & there[partner])
        values = _score(first, rows, second, partner[rows], metric)
        defined = ~np.asarray(values.undefined)
        total[rows[defined]] += values.value[defined]
        count[rows[defined]] += 1
    usable = ~(first.degenerate | first.broken)
    values = Values(total[usable] / np.maximum(count[usable], 1), undefined=count[usable] == 0, reason=NO_PARTNER)
    return settle(values, first.degenerate, first.broken)


def _score(first: Kept, rows: NDArray[np.int64], second: Kept, rows2: NDArray[np.int64], metric: OneMetric) -> Values:
    """The metric row by row, a chunk in memory at a time; `undefined` is always an array here."""
    module, _ = metric
    value, undefined, reason = np.zeros(len(rows)), np.zeros(len(rows), dtype=bool), ""
    for start in range(0, len(value), CHUNK):
        some = slice(start, start + CHUNK)
        part = module.score(first.stack[rows[some]], second.stack[rows2[some]])
        value[some] = part.value
        undefined[some] = False if part.undefined is None else part.undefined
        reason = part.reason or reason
    return Values(value, undefined, reason)


def _places(side: Side, shown: Shown) -> NDArray[np.int64]:
    place = {image: row for row, image in enumerate(side.image_ids)}
    return np.array([place[image] for image in shown.image_ids], dtype=np.int64)
