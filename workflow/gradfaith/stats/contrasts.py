"""Estimate paired contrasts: differences of scores of the same images and models, with their intervals.

    value = mean over images of (method - against)          the interval is that of the differences (stats/intervals.py)
    share_better: the share of images on which the method is better; ties count half

stats/comparisons.py says which pairs are compared: the column `comparison`. Both scores of a pair must be ok: n_lost counts
the maps without a partner or a value.

`low` and `high` are the interval of one difference, `p` its test, neither adjusted. A family is all pairs of one kind of
comparison in one context: a metric, imputer, target and architecture. `low_family`, `high_family` and `p_family` hold for
all of a family at once (stats/simultaneous.py). Two architectures are one family, with all methods; so are two imputers. A
control against its own shuffled maps is in a family of such pairs. A contrast that cannot be won is in none: its opponent
has the best possible value on every image. The primary contrast is named beforehand and stands alone: it is adjusted for
the number of architectures only.

Scores become one table per context, then all pairs of a context are one matrix of differences. Cost: 14 s on one core for 5
architectures, 5 seeds, 12 methods, 20 metrics and 200 images, most of it for the families.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
import pandas as pd

from gradfaith import rng
from gradfaith.stats.comparisons import Comparisons, Differences, Pair, differences, in_order
from gradfaith.stats.estimates import SIGN_OF_BETTER
from gradfaith.stats.image_scores import CONTEXT_KEYS, ContextScores, Numbering, scores_by_context, unit_numbering
from gradfaith.stats.interval_scales import (
    DEFAULT_RULE,
    UNBOUNDED,
    Estimates,
    IntervalRule,
    equivalence_p_values,
    interval_ends,
)
from gradfaith.stats.intervals import INTERVAL_COLUMNS, interval_columns, make_intervals
from gradfaith.stats.part_differences import differences_between_parts
from gradfaith.stats.simultaneous import FamilySums, simultaneous_intervals
from gradfaith.stats.spread import CodeArray, FlagArray, FloatArray, MeasuredCell, SeedRun, measure_many, pool_seeds

CONTRAST_KEYS = (*CONTEXT_KEYS, "layer")
FAMILY_COLUMNS = ("low_family", "high_family", "p_family")  # of all contrasts of a family at once
CONTRAST_COLUMNS = (
    "method", "against", "comparison", "label", *INTERVAL_COLUMNS, "n_lost", "share_better", *FAMILY_COLUMNS, "primary", "margin",
    "p_equivalent",
)  # fmt: skip


@dataclass(frozen=True)
class NamedContrast:
    """The one contrast that is named beforehand; it is tested on every architecture."""

    metric: str
    variant: str
    method: str
    against: str
    architectures: int = 1  # how many there are

    def is_of(self, pair: Pair) -> bool:
        """Return whether a pair is this contrast."""
        names = (pair.value_of("metric"), pair.value_of("variant"), pair.method, pair.against)
        return pair.comparison == "control" and names == (self.metric, self.variant, self.method, self.against)


def estimate_contrasts(
    parts: Iterable[pd.DataFrame],
    asked: Comparisons,
    primary: NamedContrast | None = None,
    rule: IntervalRule = DEFAULT_RULE,
    training: Iterable[pd.DataFrame] = (),
) -> pd.DataFrame:
    """Return one row per pair; `parts` are those of `estimate_scores`, with all scores that `is_compared` selects.

    `training`: the same of training images, if they have scores.
    """
    numbering = unit_numbering()
    contexts, seen = (
        list(chain.from_iterable(map(partial(scores_by_context, units=numbering), own))) for own in (parts, training)
    )
    how = _Contrasts(_Units.of(numbering), asked, primary, rule)
    tables = [how.of_metric(own, seen) for own in _by_metric(contexts)]
    pairs = [pair for own, _ in tables for pair in own]
    if not pairs:
        return pd.DataFrame(columns=[*CONTRAST_KEYS, *CONTRAST_COLUMNS])
    table = pd.concat([rows for _, rows in tables if len(rows)], ignore_index=True)
    return table.iloc[in_order(pairs)].reset_index(drop=True)[[*CONTRAST_KEYS, *CONTRAST_COLUMNS]]


def _by_metric(contexts: Sequence[ContextScores]) -> Iterator[list[ContextScores]]:
    """Yield the contexts of every target and metric together; comparisons are within them."""
    together: dict[tuple[str, ...], list[ContextScores]] = {}
    for own in contexts:
        together.setdefault(own.context[2:4], []).append(own)
    yield from together.values()


@dataclass(frozen=True)
class _Units:
    """The group, run and image of every unit, by its number."""

    group: CodeArray
    run: CodeArray
    image: CodeArray
    runs: Sequence[SeedRun]
    of_label: Mapping[str, FlagArray]  # class -> whether the image is of it

    @classmethod
    def of(cls, numbering: Numbering) -> "_Units":
        rows = pd.DataFrame(numbering.rows, columns=list(numbering.kept), dtype="str")
        group, image = (pd.factorize(rows[name])[0].astype(np.int64) for name in ("group", "image_id"))
        run, pairs = pd.factorize(pd.MultiIndex.from_frame(rows[["seed", "seed2"]]))
        runs: list[SeedRun] = [tuple(seed for seed in pair if seed) for pair in pairs]
        labels = {str(name): rows["label"].to_numpy() == name for name in sorted(set(rows["label"]) - {""})}
        return cls(group, run.astype(np.int64), image, runs, labels)

    def sums_by_group(self, unit: CodeArray, value: FloatArray) -> tuple[FamilySums, FloatArray]:
        """Return sums and counts of differences (n, k) by group and run, and the number of images of each pair (k)."""
        group, run = (np.unique(own[unit], return_inverse=True) for own in (self.group, self.run))
        shape = (len(group[0]), len(run[0]))
        order = np.argsort(group[1] * shape[1] + run[1], kind="stable")
        cell, starts = np.unique((group[1] * shape[1] + run[1])[order], return_index=True)
        ok = np.isfinite(value)
        sums, counts = (np.zeros((value.shape[1], shape[0] * shape[1])) for _ in range(2))
        sums[:, cell] = np.add.reduceat(np.where(ok, value, 0.0)[order], starts, axis=0).T
        counts[:, cell] = np.add.reduceat(ok[order].astype(np.float64), starts, axis=0).T
        by_image = np.argsort(self.image[unit], kind="stable")
        _, firsts = np.unique(self.image[unit][by_image], return_index=True)
        images = np.logical_or.reduceat(ok[by_image], firsts, axis=0).sum(axis=0)
        three = (value.shape[1], *shape)
        return FamilySums(sums.reshape(three), counts.reshape(three), [self.runs[code] for code in run[0]]), images


@dataclass(frozen=True)
class _Measured:
    """Pairs of one context with what their contrasts are made of."""

    pairs: Sequence[Pair]
    sums: FamilySums
    cells: Sequence[MeasuredCell]
    columns: Mapping[str, FloatArray]  # n_lost and share_better
    can_be_won: FlagArray


@dataclass(frozen=True)
class _Contrasts:
    """How the contrasts of one table of scores are made."""

    units: _Units
    asked: Comparisons
    primary: NamedContrast | None
    rule: IntervalRule

    def of_metric(
        self, contexts: Sequence[ContextScores], seen: Sequence[ContextScores]
    ) -> tuple[list[Pair], pd.DataFrame]:
        """Return the pairs of one metric, and a row for each; `seen`: the contexts of training images."""
        of_images = differences(contexts, self.units.of_label, self.asked)
        of_parts = differences_between_parts(
            contexts, seen, self.units.run, self.units.group, self.asked, self.rule.min_groups
        )
        found = [self._measure(some) for some in chain(of_images, of_parts)]
        if not found:
            return [], pd.DataFrame()
        pairs, cells = [pair for own in found for pair in own.pairs], [cell for own in found for cell in own.cells]
        metric = contexts[0].context[3]
        if self.rule.pooled:
            cells = pool_seeds(cells, _codes_without_architecture(pairs))
        intervals = make_intervals(cells, self.rule, self.rule.bounds_of_differences.get(metric, UNBOUNDED))
        seeds = [text for own in found for text in _seeds(own.sums)]
        rows = [
            interval_columns(interval, [text] if text else []) for interval, text in zip(intervals, seeds, strict=True)
        ]
        table = _names(pairs).join(pd.DataFrame(rows, columns=list(INTERVAL_COLUMNS)))
        for name in ("n_lost", "share_better"):
            table[name] = np.concatenate([own.columns[name] for own in found])
        table["margin"], table["p_equivalent"] = self._equivalence(metric, table)
        table["primary"] = [self.primary is not None and self.primary.is_of(pair) for pair in pairs]
        ends, families = np.cumsum([len(own.pairs) for own in found]), []
        for own, end in zip(found, ends, strict=True):
            here = slice(end - len(own.pairs), end)
            families.append(self._families(own, table["low"].iloc[here].notna().to_numpy(), cells[here]))
        return pairs, table.assign(**dict(zip(FAMILY_COLUMNS, np.concatenate(families).T, strict=True)))

    def _equivalence(self, metric: str, table: pd.DataFrame) -> tuple[float, FloatArray]:
        """Return the margin of a metric, and the p-values of equivalence within it; NaN without a margin."""
        margin, bounds = self.asked.margins.get(metric, np.nan), self.rule.bounds_of_differences.get(metric, UNBOUNDED)
        if np.isnan(margin):
            return margin, np.full(len(table), np.nan)
        made_of = (table[name].to_numpy() for name in ("value", "se", "df", "n_images", "n_groups"))
        estimates = Estimates.of(*made_of)
        ends = interval_ends(estimates, bounds, self.rule.level)
        return margin, equivalence_p_values(estimates, bounds, self.rule.level, ends, margin)

    def _measure(self, own: Differences) -> _Measured:
        """Return the contrasts of some differences before their intervals are made."""
        sums, n_images = self.units.sums_by_group(own.unit, np.where(own.asked, own.value, np.nan))
        metric = own.pairs[0].value_of("metric")
        bounds, better = self.rule.bounds.get(metric, UNBOUNDED), self.asked.better.get(metric, "")
        sign = SIGN_OF_BETTER.get(better, np.nan)
        best = {"higher": bounds.high, "lower": bounds.low}.get(better, np.nan)
        lost = own.asked & np.isnan(own.value)
        compared = own.asked & ~lost
        wins = np.where(compared, (1 + np.sign(sign * own.value)) / 2, 0.0 if own.paired else np.nan).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            columns = {"n_lost": lost.sum(axis=0), "share_better": wins / compared.sum(axis=0)}
        unbeatable = (~compared | (own.opponent == best)).all(axis=0)
        cells = measure_many(sums.sums, sums.counts, sums.runs, n_images.tolist(), self.rule)
        return _Measured(own.pairs, sums, cells, columns, ~unbeatable)

    def _families(self, own: _Measured, has_interval: FlagArray, cells: Sequence[MeasuredCell]) -> FloatArray:  # (k, 3)
        """Return what holds for all contrasts of a family at once."""
        found, tested = np.full((len(own.pairs), len(FAMILY_COLUMNS)), np.nan), has_interval & own.can_be_won
        kinds = np.array([self._family_of(pair) for pair in own.pairs])
        for kind in dict.fromkeys(kinds[tested]):
            at = np.flatnonzero(tested & (kinds == kind))
            networks = self.primary.architectures if self.primary and kind == "primary" else 1
            level = 1 - (1 - self.rule.level) / networks
            pooled = (
                [spread for place in at.tolist() if (spread := cells[place].spread) is not None]
                if self.rule.pooled
                else None
            )
            holds = simultaneous_intervals(own.sums.select(at), rng.generator("family"), level=level, pooled=pooled)
            bounds = self.rule.bounds_of_differences.get(own.pairs[0].value_of("metric"), UNBOUNDED)
            ends = np.maximum(holds.low, bounds.low), np.minimum(holds.high, bounds.high)
            found[at] = np.column_stack([*ends, np.minimum(1, networks * holds.p)])
        return found

    def _family_of(self, pair: Pair) -> str:
        if self.primary is not None and self.primary.is_of(pair):
            return "primary"
        return "control on control" if pair.method in self.asked.controls else pair.comparison


def _codes_without_architecture(pairs: Sequence[Pair]) -> CodeArray:
    """Number the pairs that differ only in their architectures."""
    names = [
        (
            pair.comparison,
            *pair.context[2:],
            pair.method,
            pair.against if pair.comparison != "architecture" else "",
            pair.label,
        )
        for pair in pairs
    ]
    return pd.factorize(pd.MultiIndex.from_tuples(names))[0].astype(np.int64)


def _names(pairs: Sequence[Pair]) -> pd.DataFrame:
    """Return the columns that name each pair."""
    names = [(*pair.context, pair.layer, pair.method, pair.against, pair.comparison, pair.label) for pair in pairs]
    return pd.DataFrame(names, columns=[*CONTRAST_KEYS, "method", "against", "comparison", "label"], dtype="str")


def _seeds(sums: FamilySums) -> list[str]:
    """Return the seeds behind every pair, joined by spaces."""
    present, texts = np.asarray(sums.counts.any(axis=1)), dict[bytes, str]()
    for used in present:
        runs = [run for run, has in zip(sums.runs, used, strict=True) if has]
        texts.setdefault(used.tobytes(), " ".join(sorted({str(seed) for run in runs for seed in run})))
    return [texts[used.tobytes()] for used in present]
