"""Test the gates of the verdict: one criterion each, with a margin that the study names beforehand.

    balanced_accuracy   low >= margin                       of the network
    localization        low of metric - control > margin    for every control that a map can exceed
    faith_gain          low of Faith - shuffled > margin    with every imputer
    randomisation       high of rank agreement < margin     with the map of the fully randomised network, in every order
    consistency         low of Consist - chance > margin    in every class; chance: the maps of other images
    shortcut_lift       high of lift < margin               of a known shortcut
    missing_maps        share <= margin                     maps that are constant or not finite; a count, without interval

A gate passes if its interval lies wholly on the right side of the margin, fails if it lies wholly on the wrong side, and is
undecided otherwise. If a gate has several parts (controls, imputers, classes) all must pass, and one that fails is enough to
fail, so each part is tested at its own level: an intersection-union test needs no adjustment [berger1982]. A value that is
constant by construction is its own interval. A control with the best possible value on every image cannot be exceeded and is
left out. If the interval contains the margin, the planner's rough figure says what would decide it:

    groups needed = n (half / distance)^2        half: from the value to the end beyond the margin; distance: to the margin

With that many groups the gate is decided with a chance of about one half. Groups and seeds of an interval grow alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

import numpy as np
import pandas as pd

from gradfaith.metrics.maps.rank_correlation import is_fully_randomised
from gradfaith.stats.estimates import is_best_possible
from gradfaith.stats.interval_scales import UNBOUNDED, Bounds
from gradfaith.stats.intervals import CONSTANT, OVER_BOTH
from gradfaith.vocabulary import (
    ALL_CLASSES,
    BETWEEN_IMAGES,
    CONTROL_COMPARISON,
    NOT_OK,
    NOT_TESTABLE,
    RANDOMISATION,
    SHUFFLED,
    STATUSES,
    UNDECIDED,
)

GateStatus = Literal["pass", "fail", "undecided", "not testable"]
PASS: GateStatus = "pass"
FAIL: GateStatus = "fail"
SEVERITY: tuple[GateStatus, ...] = (FAIL, NOT_TESTABLE, UNDECIDED, PASS)  # the first that occurs decides
Relation = Literal[">", ">=", "<", "<="]
RELATIONS: Mapping[str, Relation] = {
    "balanced_accuracy": ">=", "localization": ">", "faith_gain": ">", "randomisation": "<", "consistency": ">",
    "shortcut_lift": "<", "missing_maps": "<=",
}  # fmt: skip
NO_NUMBER = {  # gate -> why a study that measures its metric has no number
    "balanced_accuracy": "no test image of this network has a prediction",
    "localization": "no image has a value of {metric} for the method and for a control that it can exceed",
    "faith_gain": "no image has a value of {metric} for the method and for its shuffled maps",
    "randomisation": "`randomisation` has no bundle with this method, or no two maps that are not constant",
    "consistency": "no image{of_class} has a value of {metric} for two seeds and for its chance level",
    "shortcut_lift": "no test image has a known shortcut", "missing_maps": "the method has no scores",
}  # fmt: skip


@dataclass(frozen=True)
class GateRules:
    """What the gates read, and their margins."""

    margins: Mapping[str, float]  # gate -> margin
    metrics: Mapping[str, str]  # gate -> metric of the study
    untested: Mapping[str, str]  # gate -> why this study cannot test it
    localization_variant: str
    controls: Sequence[str]
    classes: Sequence[str]
    better: Mapping[str, str]
    bounds: Mapping[str, Bounds]
    min_groups: int


@dataclass(frozen=True)
class GatePart:
    """One number that a gate reads: of one control, imputer, order or class."""

    name: str  # "" if the gate has one part
    status: GateStatus
    value: float | None
    low: float | None  # none: there is no interval
    high: float | None
    n_images: int
    n_groups: int
    n_seeds: int
    reason: str  # why there is no interval, or no value
    interval: str  # how the interval was made: over groups, or over groups and seeds
    groups_needed: int | None = None  # of an undecided part: groups that would decide it
    seeds_needed: int | None = None  # and seeds, if the interval is over seeds too


@dataclass(frozen=True)
class Gate:
    """One gate with its result."""

    name: str
    status: GateStatus
    relation: Relation
    margin: float
    metric: str  # of the study
    decisive: str  # the name of the part that decides: the worst of those with the gate's status
    reason: str  # why it is not testable or undecided
    parts: tuple[GatePart, ...]

    @property
    def decisive_part(self) -> GatePart | None:
        """Return the part that decides; none if there is no number."""
        return next((part for part in self.parts if part.name == self.decisive), None)


@dataclass(frozen=True)
class GateTables:
    """The tables that gates read, of all images or classes."""

    classification: pd.DataFrame
    estimates: pd.DataFrame
    contrasts: pd.DataFrame

    def of(self, arch: str, method: str) -> "GateTables":
        """Return the rows of one architecture and method, without those that compare architectures."""
        return GateTables(
            self.classification[self.classification["arch"].astype("str") == arch],
            _rows_of(self.estimates, arch, method),
            _rows_of(self.contrasts, arch, method),
        )


Row = Mapping[str, object]
NamedRows = list[tuple[str, Row]]


def run_gates(tables: GateTables, arch: str, method: str, rules: GateRules) -> tuple[Gate, ...]:
    """Return every gate of one architecture and method; `tables` have the rows of all."""
    all_methods, own = tables.estimates, tables.of(arch, method)
    found = []
    for name, relation in RELATIONS.items():
        margin, metric = rules.margins[name], rules.metrics.get(name, "")
        if name in rules.untested:
            found.append(Gate(name, NOT_TESTABLE, relation, margin, metric, "", rules.untested[name], ()))
            continue
        rows = FINDERS[name](own, metric, rules)
        if name == "localization":
            rows = [
                (control, row) for control, row in rows if _can_be_exceeded(all_methods, arch, control, metric, rules)
            ]
        parts = tuple(judge_part(part, row, margin, relation, rules.min_groups) for part, row in rows)
        parts += _missing_classes(name, parts, rules.classes, metric)
        found.append(_gate(name, relation, margin, metric, parts))
    return tuple(found)


def judge_part(name: str, row: Row, margin: float, relation: Relation, min_groups: int) -> GatePart:
    """Compare one row of a table, with columns value, low and high, with a margin."""
    value, low, high = (float(str(row[end])) for end in ("value", "low", "high"))
    n_images, n_groups, n_seeds = (int(float(str(row[f"n_{count}"]))) for count in ("images", "groups", "seeds"))
    reason, over_seeds = str(row["reason"]), OVER_BOTH in str(row["interval"])
    if np.isnan(low) and reason == CONSTANT:
        low = high = value
    status: GateStatus = UNDECIDED
    needed = None
    if np.isnan(value):
        status = NOT_TESTABLE
    elif np.isnan(low):
        needed = min_groups if n_groups < min_groups else None
    else:
        status = compare_interval(low, high, margin, relation)
    ends, counts = (_known(value), _known(low), _known(high)), (n_images, n_groups, n_seeds)
    part = GatePart(name, status, *ends, *counts, reason, str(row["interval"]), needed)
    if status != UNDECIDED or np.isnan(low) or value == margin:
        return part
    factor = ((value - low if value > margin else high - value) / (value - margin)) ** 2
    return replace(
        part, groups_needed=ceil(n_groups * factor), seeds_needed=ceil(n_seeds * factor) if over_seeds else None
    )


def _known(number: float) -> float | None:
    return None if np.isnan(number) else number


def compare_interval(low: float, high: float, margin: float, relation: Relation) -> GateStatus:
    """Return on which side of the margin an interval lies."""
    passed, failed = {
        ">": (low > margin, high <= margin), ">=": (low >= margin, high < margin),
        "<": (high < margin, low >= margin), "<=": (high <= margin, low > margin),
    }[relation]  # fmt: skip
    return PASS if passed else FAIL if failed else UNDECIDED


def worst_status(statuses: Sequence[GateStatus]) -> GateStatus:
    """Return the status of several together: fail, else not testable, else undecided, else pass."""
    return next(status for status in SEVERITY if status in statuses)


def _gate(name: str, relation: Relation, margin: float, metric: str, parts: tuple[GatePart, ...]) -> Gate:
    if not parts:
        why = NO_NUMBER[name].format(metric=metric, of_class="")
        return Gate(name, NOT_TESTABLE, relation, margin, metric, "", why, ())
    status = worst_status([part.status for part in parts])
    decisive = min((part for part in parts if part.status == status), key=lambda part: _room(part, margin, relation))
    return Gate(name, status, relation, margin, metric, decisive.name, decisive.reason if status != PASS else "", parts)


def _room(part: GatePart, margin: float, relation: Relation) -> float:
    """Return how far the interval is on the right side of the margin; negative beyond it."""
    if part.low is None or part.high is None:
        return -np.inf
    return part.low - margin if relation.startswith(">") else margin - part.high


def _rows_of(table: pd.DataFrame, arch: str, method: str) -> pd.DataFrame:
    """Return the rows of one architecture and method over all images."""
    arch2 = table["arch2"].astype("str")
    own = (table["arch"].astype("str") == arch) & (table["method"].astype("str") == method) & arch2.isin(["", arch])
    return table[own & (table["by"] == "")] if "by" in table else table[own]


def _named(rows: pd.DataFrame, column: str = "") -> NamedRows:
    """Return rows with their names, from a column; without a column all rows have the empty name."""
    return [
        (str(row[column]) if column else "", {str(key): value for key, value in row.items()})
        for row in rows.to_dict("records")
    ]


def _balanced_accuracy(own: GateTables, metric: str, _rules: GateRules) -> NamedRows:
    table = own.classification
    return _named(table[(table["metric"] == metric) & (table["class"] == ALL_CLASSES)])


def _localization(own: GateTables, metric: str, rules: GateRules) -> NamedRows:
    """Return the gain over every control; where lower is better the difference changes its sign."""
    table = own.contrasts[own.contrasts["comparison"] == CONTROL_COMPARISON]
    rows = table[(table["metric"] == metric) & (table["variant"] == rules.localization_variant)]
    if rules.better[metric] == "lower":
        rows = rows.assign(value=-rows["value"], low=-rows["high"], high=-rows["low"])
    return _named(rows, "against")


def _can_be_exceeded(estimates: pd.DataFrame, arch: str, control: str, metric: str, rules: GateRules) -> bool:
    """Return whether a control has not the best possible value on every image."""
    own = _rows_of(estimates, arch, control)
    mean = own.loc[(own["metric"] == metric) & (own["variant"] == rules.localization_variant), "value"]
    return not is_best_possible(mean.to_numpy(np.float64), rules.better[metric], rules.bounds.get(metric, UNBOUNDED))


def _faith_gain(own: GateTables, metric: str, _rules: GateRules) -> NamedRows:
    table = own.contrasts[own.contrasts["comparison"] == CONTROL_COMPARISON]
    shuffled = table["against"] == SHUFFLED + table["method"].astype("str")
    return _named(table[(table["metric"] == metric) & shuffled], "variant")


def _randomisation(own: GateTables, _metric: str, _rules: GateRules) -> NamedRows:
    table = own.estimates[own.estimates["metric"] == RANDOMISATION]
    return _named(table[[is_fully_randomised(str(name)) for name in table["variant"]]], "variant")


def _consistency(own: GateTables, metric: str, rules: GateRules) -> NamedRows:
    table = own.contrasts
    wanted = (table["comparison"] == "chance") & (table["against"] == BETWEEN_IMAGES) & (table["metric"] == metric)
    return _named(table[wanted & table["label"].isin(list(rules.classes))], "label")


def _missing_classes(name: str, parts: Sequence[GatePart], classes: Sequence[str], metric: str) -> tuple[GatePart, ...]:
    """Return a part that is not testable for every class without a number; other gates have no parts by class."""
    found = {part.name for part in parts}
    missing = [label for label in classes if label not in found] if name == "consistency" and parts else []
    why = {label: NO_NUMBER[name].format(metric=metric, of_class=f" of class {label}") for label in missing}
    return tuple(GatePart(label, NOT_TESTABLE, None, None, None, 0, 0, 0, text, "") for label, text in why.items())


def _shortcut_lift(own: GateTables, metric: str, _rules: GateRules) -> NamedRows:
    return _named(own.estimates[own.estimates["metric"] == metric])


def _missing_maps(own: GateTables, _metric: str, rules: GateRules) -> NamedRows:
    """Return the largest share of maps that the metrics of other gates could not use; of any metric if there is none."""
    read = [rules.metrics.get(gate, "") for gate in ("localization", "faith_gain", "shortcut_lift")]
    table = own.estimates[own.estimates["metric"].isin(read)]
    table = table if len(table) else own.estimates[own.estimates["metric"] != RANDOMISATION]
    total = table[[f"n_{status}" for status in STATUSES]].sum(axis=1)
    lost = table[[f"n_{status}" for status in NOT_OK if status != "undefined"]].sum(axis=1)
    share = (lost / total.where(total > 0)).astype(float)
    rows = table.assign(value=share, low=share, high=share, n_images=total, reason="").sort_values(
        "value", ascending=False
    )
    return _named(rows[:1])


FINDERS: Mapping[str, Callable[[GateTables, str, GateRules], NamedRows]] = {
    "balanced_accuracy": _balanced_accuracy, "localization": _localization, "faith_gain": _faith_gain,
    "randomisation": _randomisation, "consistency": _consistency, "shortcut_lift": _shortcut_lift,
    "missing_maps": _missing_maps,
}  # fmt: skip
