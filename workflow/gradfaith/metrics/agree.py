"""Runs agreement metrics over the models of one architecture, one method at a time: numpy only.

    reference       each seed with the lowest one; the reference is not compared with itself
    pairs           all S (S - 1) / 2 pairs of seeds
    between-images  chance level: an image's map in one seed with the maps of other images in the other, same class,
                    another group. One row per image: the mean over its partners, `partners` of them (all, where
                    there are fewer), drawn from (key, image id), so the same for every pair, method and order

All models explain the true class. In "pairs" and "between-images" seed < seed2; in "reference" seed2 is the reference, and the
metric always reads the lower seed first. Cost: m S (S - 1) / 2 (1 + partners) scores, 0.25 ms each at 224 x 224.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith.errors import StudyInvalid
from gradfaith.metrics.contract import Chosen, Result, Values, settle
from gradfaith.rng import generator

OneMetric = tuple[ModuleType, Mapping[str, Any]]
Rows = tuple[int, NDArray[np.int64]]  # which seed, which images
CHUNK = 128
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
class Stacks:
    """The maps of one method for every seed, evaluated, the images in one order."""

    unit: NDArray[Any]  # (s, m, h, w) in [0, 1]
    degenerate: NDArray[np.bool_]  # (s, m)
    broken: NDArray[np.bool_]  # (s, m)
    seeds: Sequence[int]
    image_ids: Sequence[str]
    groups: Sequence[str]
    labels: Sequence[Any]


def agree(stacks: Stacks, metrics: Chosen, *, partners: int = 8, key: tuple[object, ...] = ()) -> list[Agreement]:
    """Every metric on every pair of seeds, in the three variants."""
    order = sorted(range(len(stacks.seeds)), key=lambda row: stacks.seeds[row])
    if len(set(stacks.seeds)) < 2:
        raise StudyInvalid(
            found=f"agreement was asked for models of one seed: {list(stacks.seeds)}.",
            why="A model cannot agree with itself.",
            then="Give the study two seeds or more, or leave its agreement metrics out.",
        )
    others = choose_partners(stacks, partners, key)
    found = []
    for label, metric in metrics.items():
        for a, b in combinations(order, 2):
            low, high = stacks.seeds[a], stacks.seeds[b]
            same = _same_images(stacks, a, b, metric)
            if a == order[0]:
                found.append(Agreement(label, "reference", high, low, same))
            found.append(Agreement(label, "pairs", low, high, same))
            chance = _between_images(stacks, a, b, metric, others)
            found.append(Agreement(label, "between-images", low, high, chance))
    return found


def choose_partners(stacks: Stacks, partners: int, key: tuple[object, ...]) -> NDArray[np.int64]:
    """Rows of each image's partners, (m, partners); -1 where the class has no more images in other groups."""
    ids, groups, labels = (np.asarray(column) for column in (stacks.image_ids, stacks.groups, stacks.labels))
    by_id = np.argsort(ids)
    chosen = np.full((len(ids), partners), -1, dtype=np.int64)
    for row, image_id in enumerate(stacks.image_ids):
        able = by_id[(labels[by_id] == labels[row]) & (groups[by_id] != groups[row])]
        drawn = generator(*key, "between-images", image_id).permutation(len(able))[:partners]
        chosen[row, : len(drawn)] = able[drawn]
    return chosen


def _same_images(stacks: Stacks, a: int, b: int, metric: OneMetric) -> Result:
    degenerate = stacks.degenerate[a] | stacks.degenerate[b]
    broken = stacks.broken[a] | stacks.broken[b]
    rows = np.flatnonzero(~(degenerate | broken))
    return settle(_score(stacks, (a, rows), (b, rows), metric), degenerate, broken)


def _between_images(stacks: Stacks, a: int, b: int, metric: OneMetric, others: NDArray[np.int64]) -> Result:
    """The mean over the partners whose score exists."""
    total, count = np.zeros(len(others)), np.zeros(len(others), dtype=np.int64)
    fit = ~(stacks.degenerate | stacks.broken)
    for partner in others.T:
        rows = np.flatnonzero((partner >= 0) & fit[a] & fit[b, partner])
        values = _score(stacks, (a, rows), (b, partner[rows]), metric)
        defined = ~np.asarray(values.undefined)
        total[rows[defined]] += values.value[defined]
        count[rows[defined]] += 1
    values = Values(total[fit[a]] / np.maximum(count[fit[a]], 1), undefined=count[fit[a]] == 0, reason=NO_PARTNER)
    return settle(values, stacks.degenerate[a], stacks.broken[a])


def _score(stacks: Stacks, first: Rows, second: Rows, metric: OneMetric) -> Values:
    """The metric row by row, a chunk in memory at a time; `undefined` is always an array here."""
    module, options = metric
    value, undefined, reason = np.zeros(len(first[1])), np.zeros(len(first[1]), dtype=bool), ""
    for start in range(0, len(value), CHUNK):
        rows = slice(start, start + CHUNK)
        part = module.score(stacks.unit[first[0], first[1][rows]], stacks.unit[second[0], second[1][rows]], **options)
        value[rows] = part.value
        undefined[rows] = False if part.undefined is None else part.undefined
        reason = part.reason or reason
    return Values(value, undefined, reason)
