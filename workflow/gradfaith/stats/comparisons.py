"""Say which pairs of scores a study compares, and return their differences, image by image and run by run.

    control        a method minus a control, or minus its own shuffled maps; a control minus its own shuffled maps
    method         a method minus another one, on the same architecture
    base           a refined method minus the method that it refines
    architecture   a method on one architecture minus the same method on another one
    imputer        a method's score with one imputer minus that with another one
    chance         agreement between seeds minus its chance level, the agreement of different images; also by class
    part           a method's test scores minus its scores of training images           (stats/part_differences.py)

A comparison pairs scores of the same image and the same run (a seed, or two in a pair). Seeds of two architectures share
only their number: leaving a seed out leaves one model of each side out. A method that has several layers is compared
with a control layer by layer, and else by its mean over layers.

Not compared: scores on each network's own scale across architectures (logits); localization across architectures, unless
the maps were scored on a common grid (scoring/across_architectures.py), because finer maps hit small evidence better;
agreement across architectures, which is shown beside its chance level only; two imputers of a control.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pandas as pd

from gradfaith.stats.image_scores import CONTEXT_KEYS, ContextScores
from gradfaith.stats.spread import CodeArray, FlagArray, FloatArray
from gradfaith.vocabulary import (
    BETWEEN_IMAGES,
    CHANCE_VARIANTS,
    COMMON_GRID,
    COMPARISONS,
    RANDOMISATION,
    REFERENCE,
    SEED_PAIRS,
    SHUFFLED,
    CompareWith,
)

MethodPair = tuple[str, str]


@dataclass(frozen=True)
class Comparisons:
    """What a study compares."""

    methods: Sequence[str]  # methods and controls, in the order of the scores
    controls: Sequence[str]
    better: Mapping[str, str]  # metric -> higher, lower or neither
    bases: Mapping[str, str] = field(default_factory=dict)  # refined method -> the method that it refines
    imputed: Collection[str] = ()  # metrics whose variants are imputers
    not_across: Collection[str] = ()  # metrics that are not compared across architectures
    on_common_grid: Collection[str] = ()  # metrics that are compared across architectures on a common grid only
    margins: Mapping[str, float] = field(default_factory=dict)  # metric -> the largest difference that counts as none

    @property
    def of_model(self) -> list[str]:
        """The methods that use the model: no controls, and no shuffled maps."""
        return [name for name in self.methods if name not in self.controls and not name.startswith(SHUFFLED)]


@dataclass(frozen=True)
class Pair:
    """One comparison: what is compared with what."""

    comparison: CompareWith
    context: tuple[str, ...]  # the values of CONTEXT_KEYS
    layer: str
    method: str
    against: str
    label: str  # the class of the images; "": all images
    order: int  # of the pair among those of its kind
    first_row: int  # the place of the first score among all scores

    def value_of(self, key: str) -> str:
        """Return the value of one of CONTEXT_KEYS."""
        return self.context[CONTEXT_KEYS.index(key)]


@dataclass(frozen=True)
class Differences:
    """The differences of some pairs on the same images and runs."""

    pairs: Sequence[Pair]  # (k)
    unit: CodeArray  # (n): the number of each image and run
    value: FloatArray  # (n, k); NaN: one of the two has no value
    opponent: FloatArray  # (n, k): the value that was subtracted
    asked: FlagArray  # (n, k): the method has a score
    paired: bool = True  # whether the value of an image is a difference of its own scores

    @classmethod
    def of(cls, unit: CodeArray, columns: Sequence["_Column"]) -> "Differences":
        minuend, opponent, asked = (
            np.stack([getattr(column, name) for column in columns], axis=1) for name in ("value", "opponent", "asked")
        )
        return cls([column.pair for column in columns], unit, minuend - opponent, opponent, asked)


@dataclass(frozen=True)
class _Column:
    """One pair, with its two values on every image and run."""

    pair: Pair
    value: FloatArray  # (n)
    opponent: FloatArray  # (n)
    asked: FlagArray  # (n)


def is_compared(scores: pd.DataFrame) -> pd.Series:
    """Return which scores take part in any comparison: not agreement across architectures, nor with randomised models."""
    own = scores["arch2"].isin([""]) | (scores["arch2"].astype("str") == scores["arch"].astype("str"))
    return own & (scores["metric"] != RANDOMISATION)


def is_comparable(scores: pd.DataFrame) -> pd.Series:
    """Return which scores controls have too: not chance levels, and not agreement's reference, a part of its pairs.

    Agreement across architectures is left out as well: it is shown beside its chance level and not tested, because every
    pair would add a family of contrasts and make each of the others harder to show. Scores on a common grid serve
    comparisons of architectures only.
    """
    others = [*CHANCE_VARIANTS, REFERENCE]
    on_common_grid = scores["variant"].astype("str").str.startswith(COMMON_GRID)
    return is_compared(scores) & ~(scores["variant"].isin(others) | on_common_grid)


def differences(
    contexts: Sequence[ContextScores], labels: Mapping[str, FlagArray], asked: Comparisons
) -> Iterator[Differences]:
    """Yield the differences of all pairs; those of one context, or of two contexts, together.

    `labels`: class -> whether each unit's image is of it.
    """
    keys = pd.DataFrame([own.context for own in contexts], columns=list(CONTEXT_KEYS), dtype="str")
    with_controls = is_comparable(keys)
    for own, comparable in zip(contexts, with_controls, strict=True):
        if comparable:
            yield from _within_context(own, asked)
    for first, second in _pairs_that_differ(contexts, "arch"):
        if _same_scale(first, asked):
            yield from _between(first, second, "architecture", "arch", asked)
    for first, second in _pairs_that_differ([own for own in contexts if own.context[-2] in asked.imputed], "variant"):
        yield from _between(first, second, "imputer", "variant", asked)
    agreement = [own for own in contexts if own.context[-1] in (SEED_PAIRS, BETWEEN_IMAGES)]
    for first, second in _pairs_that_differ(agreement, "variant"):
        pairs, chance = sorted([first, second], key=lambda own: own.context[-1] == BETWEEN_IMAGES)
        yield from _between(pairs, chance, "chance", "variant", asked, labels)


def _pairs_that_differ(contexts: Sequence[ContextScores], key: str) -> Iterator[tuple[ContextScores, ContextScores]]:
    """Yield the pairs of contexts that differ in one key only; agreement's two architectures count as one."""
    places = [CONTEXT_KEYS.index(key), *([CONTEXT_KEYS.index("arch2")] if key == "arch" else [])]
    together: dict[tuple[str, ...], list[ContextScores]] = {}
    for own in contexts:
        rest = tuple(value for place, value in enumerate(own.context) if place not in places)
        together.setdefault(rest, []).append(own)
    for alike in together.values():
        yield from combinations(alike, 2)


def _same_scale(own: ContextScores, asked: Comparisons) -> bool:
    """Return whether two architectures can be compared in this context."""
    _, _, _, metric, variant = own.context
    if metric in asked.not_across or variant in (*CHANCE_VARIANTS, REFERENCE):
        return False
    return (metric in asked.on_common_grid) == variant.startswith(COMMON_GRID)


def _within_context(own: ContextScores, asked: Comparisons) -> Iterator[Differences]:
    """Yield the differences between methods and controls, between methods, and between refined methods and bases."""
    present = {name for name, _ in own.columns}
    controls = [
        column
        for order, pair in enumerate(method_pairs(asked.methods, asked.controls))
        if present.issuperset(pair)
        for column in _with_control(own, pair, order)
    ]
    bases = [pair for pair in asked.bases.items() if present.issuperset(pair)]
    every = [pair for pair in combinations(asked.of_model, 2) if present.issuperset(pair)]
    methods = [pair for pair in every if not {pair, pair[::-1]} & set(bases)]
    for columns in (controls, _of_methods(own, methods, "method"), _of_methods(own, bases, "base")):
        if columns:
            yield Differences.of(own.unit, columns)


def method_pairs(methods: Sequence[str], controls: Sequence[str]) -> Iterator[MethodPair]:
    """Yield the pairs (method, opponent) of comparisons with controls."""
    for method in methods:
        if method.startswith(SHUFFLED):
            continue
        opponents = [] if method in controls else [control for control in controls if control in methods]
        shuffled = SHUFFLED + method
        yield from ((method, opponent) for opponent in [*opponents, *([shuffled] if shuffled in methods else [])])


def _with_control(own: ContextScores, pair: MethodPair, order: int) -> Iterator[_Column]:
    """Yield a method minus a control, layer by layer."""
    for place in own.layers_of(pair[0]):
        layer = own.columns[place][1]
        name = Pair("control", own.context, layer, *pair, "", order, int(own.first_row[place]))
        yield _Column(name, own.values[:, place], own.at_layer(pair[1], layer), own.has_score[:, place])


def _of_methods(own: ContextScores, pairs: Sequence[MethodPair], kind: CompareWith) -> list[_Column]:
    columns = []
    for order, (method, against) in enumerate(pairs):
        value, has_score = own.over_layers(method)
        opponent, _ = own.over_layers(against)
        columns.append(_Column(_pair(kind, own, method, against, order), value, opponent, has_score))
    return columns


def _pair(kind: CompareWith, own: ContextScores, method: str, against: str, order: int, label: str = "") -> Pair:
    """Return a comparison of a method over its layers."""
    at = own.layers_of(method)
    layer = own.columns[at[0]][1] if len(at) == 1 else ""
    return Pair(kind, own.context, layer, method, against, label, order, int(own.first_row[at].min()))


def _between(
    first: ContextScores,
    second: ContextScores,
    kind: CompareWith,
    key: str,
    asked: Comparisons,
    labels: Mapping[str, FlagArray] | None = None,
) -> Iterator[Differences]:
    """Yield what methods score in one context minus what they score in another, on the images and runs of both."""
    unit, rows, opposite = np.intersect1d(first.unit, second.unit, assume_unique=True, return_indices=True)
    names = {name for name, _ in first.columns} & {name for name, _ in second.columns}
    against, columns = second.context[CONTEXT_KEYS.index(key)], []
    for order, method in enumerate(asked.of_model):
        if method not in names or not len(unit):
            continue
        value, has_score = first.over_layers(method)
        value, has_score = value[rows], has_score[rows]
        opponent = second.over_layers(method)[0][opposite]
        columns.append(_Column(_pair(kind, first, method, against, order), value, opponent, has_score))
        for label, of_label in (labels or {}).items():
            name, inside = _pair(kind, first, method, against, order, label), of_label[unit]
            columns.append(_Column(name, np.where(inside, value, np.nan), opponent, has_score & inside))
    if columns:
        yield Differences.of(unit, columns)


def in_order(pairs: Iterable[Pair]) -> list[int]:
    """Return the places of pairs in the order of the table: kind by kind, pair by pair, as the scores name them."""
    keys = [(pair.comparison, pair.order, pair.first_row, pair.label) for pair in pairs]
    return sorted(range(len(keys)), key=lambda place: (COMPARISONS.index(keys[place][0]), *keys[place][1:]))
