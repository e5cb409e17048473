"""Measure, in the scores of a finished study, the variance of its primary contrast and of the numbers that gates read.

    a number    a mean over images: of a metric, or of the difference of two means                (stats/sample_size.py)
    balanced accuracy   mean over images of s_k + w_k (correct - s_k), w_k = images / (classes x images of the class k),
                        s_k: sensitivity; its variance is that of balanced accuracy to first order

The gates are those of the study's primary method, with the metrics, margins and controls of the rule `verdict`.
The variance between seeds is averaged over architectures. The gate `missing_maps` is a count without an interval, so it is
always decided.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gradfaith.config import derived_metrics
from gradfaith.config.result_settings import VerdictSettings
from gradfaith.dag import rule_params
from gradfaith.dag.plan import Plan
from gradfaith.metrics.maps.rank_correlation import is_fully_randomised
from gradfaith.stats.estimates import SCORE_COLUMNS, is_best_possible
from gradfaith.stats.gates import FAIL, RELATIONS, compare_interval
from gradfaith.stats.image_scores import CONTEXT_KEYS, MetricSideBySide
from gradfaith.stats.interval_scales import UNBOUNDED, Bounds, interval_rule
from gradfaith.stats.intervals import combination_codes
from gradfaith.stats.sample_size import Components, PlannedNumber, components_of, pool_seeds, sums_of_runs
from gradfaith.storage import parquet
from gradfaith.storage.table_parts import TableParts
from gradfaith.vocabulary import BETWEEN_IMAGES, SEED_PAIRS, SHUFFLED

Values = pd.DataFrame  # one row per image and run: group, seed, seed2, value


@dataclass(frozen=True)
class GatePlan:
    """Which metrics the gates read, and their margins."""

    metrics: Mapping[str, str]  # gate -> metric of the study; one that is not testable has none
    margins: Mapping[str, float]
    localization_variant: str
    better: Mapping[str, str]
    bounds: Mapping[str, Bounds]

    @classmethod
    def of_study(cls, plan: Plan) -> "GatePlan":
        """Return what the rule `verdict` takes from a study."""
        how = VerdictSettings.of_params(rule_params.RuleParams(plan).verdict())
        bounds = interval_rule(how.level, how.min_groups, how.bounds).bounds
        return cls(how.metrics, how.margins, how.localization_variant, how.better, bounds)


@dataclass(frozen=True)
class StudyValues:
    """The values behind the numbers of a study: scores of test images, and predictions."""

    scores: TableParts
    predictions: pd.DataFrame
    method: str
    controls: list[str]

    def side(self, metric: str) -> MetricSideBySide:
        """Return the scores of a metric side by side."""
        return MetricSideBySide.of(self.scores.select(self.scores.keys["metric"] == metric).joined())

    def gates(self, plan: GatePlan, arch: str) -> Iterator[tuple[str, str, Values]]:
        """Yield gate, part and values of every number that a gate reads on an architecture."""
        yield "balanced_accuracy", "", self.accuracy(arch)
        for gate, metric in plan.metrics.items():
            if gate in ("balanced_accuracy", "missing_maps"):
                continue
            side = self.side(metric)
            for part, values in self._of_gate(gate, side, arch, plan):
                if values["group"].nunique() > 1:  # one group has no spread
                    yield gate, part, values

    def _of_gate(self, gate: str, side: MetricSideBySide, arch: str, plan: GatePlan) -> Iterator[tuple[str, Values]]:
        method = self.method
        if gate == "localization":
            metric, variant = plan.metrics[gate], plan.localization_variant
            sign = -1.0 if plan.better[metric] == "lower" else 1.0
            for control in [*self.controls, SHUFFLED + method]:
                own = difference(side, arch, (control, ""), variant)["value"].to_numpy()
                if is_best_possible(own, plan.better[metric], plan.bounds.get(metric, UNBOUNDED)):
                    continue  # the gate leaves it out: no map can exceed it
                values = difference(side, arch, (method, control), variant)
                yield control, values.assign(value=sign * values["value"])
        elif gate == "faith_gain":
            for variant in side.variants:
                yield variant, difference(side, arch, (method, SHUFFLED + method), variant)
        elif gate == "randomisation":
            for variant in filter(is_fully_randomised, side.variants):
                yield variant, difference(side, arch, (method, ""), variant)
        elif gate == "consistency":
            values = difference(side, arch, (method, method), SEED_PAIRS, BETWEEN_IMAGES)
            yield from ((str(label), own) for label, own in values.groupby("label", observed=True))
        else:
            yield "", difference(side, arch, (method, ""), side.variants[0])

    def accuracy(self, arch: str) -> Values:
        """Return values whose mean is the balanced accuracy of each seed."""
        own = self.predictions[(self.predictions["arch"] == arch) & (self.predictions["part"] == "test")]
        correct, by = own["correct"].astype(np.float64), [own["seed"], own["label"]]
        sensitivity = correct.groupby(by, observed=True).transform("mean")
        of_class = correct.groupby(by, observed=True).transform("size")
        images = correct.groupby(own["seed"]).transform("size")
        classes = own.groupby("seed")["label"].transform("nunique")
        mean = own["seed"].map((sensitivity / of_class / classes).groupby(own["seed"]).sum())
        value = mean + images / (classes * of_class) * (correct - sensitivity)
        return own[["group", "seed"]].assign(value=value, label=own["label"])


def difference(
    side: MetricSideBySide, arch: str, pair: tuple[str, str], variant: str, against_variant: str = ""
) -> Values:
    """Return a method's values, minus those of a second method unless it is ""; rows without one of them are left out."""
    method, against = pair
    layers = side.layers(arch, method)
    value = side.of_method(arch, method, variant, layers)
    if against:
        value = value - side.of_method(arch, against, against_variant or variant, layers)
    kept = np.flatnonzero(np.isfinite(value))
    return side.rows.iloc[kept].assign(value=value[kept])


def components_of_values(values: Values) -> Components:
    """Return the components of variance of the mean of some values."""
    group, run = combination_codes(values, ["group"]), combination_codes(values, ["seed", "seed2"])
    return components_of(*sums_of_runs(values["value"].to_numpy(np.float64), group, run))


def mean_over_runs(values: Values) -> float:
    """Return the mean over runs of the mean over images."""
    run = combination_codes(values, ["seed", "seed2"])
    return float(values["value"].groupby(run).mean().mean())


def measure_study(plan: Plan) -> tuple[Components, list[PlannedNumber], int]:
    """Return the components of the primary contrast, the numbers of the gates, and the size of the largest family."""
    study, paths, primary = plan.study, plan.paths, plan.study.primary
    values = StudyValues(
        scores=TableParts.of(paths.scores, parquet.SCORES, SCORE_COLUMNS, by=CONTEXT_KEYS, where={"part": "test"}),
        predictions=parquet.read_per_model(plan.per_model(paths.predictions), parquet.PREDICTIONS),
        method=primary.method,
        controls=list(plan.bundles["controls"]),
    )
    side, variant = values.side(primary.metric), derived_metrics.primary_variant(study, primary.metric)
    own = [difference(side, arch, (primary.method, primary.against), variant) for arch in plan.architectures]
    found = pool_seeds([components_of_values(frame) for frame in own if len(frame)])
    components = Components(*(float(np.sqrt(np.mean([getattr(one, name) ** 2 for one in found]))) for name in NAMES))
    numbers = planned_numbers(values, GatePlan.of_study(plan), plan.architectures) if study.verdict else []
    return components, numbers, _largest_family(paths.contrasts)


NAMES = ("groups", "seeds", "residual")


def _largest_family(path: str) -> int:
    """Return the number of contrasts in the largest family of a study."""
    table = parquet.read(path, parquet.CONTRASTS)
    tested = table[table["p_family"].notna() & ~table["primary"].astype(bool)]
    return int(tested.groupby([*CONTEXT_KEYS, "comparison"]).size().max()) if len(tested) else 1


def planned_numbers(values: StudyValues, plan: GatePlan, archs: list[str]) -> list[PlannedNumber]:
    """Return the numbers that the gates read, with the variance between seeds averaged over architectures."""
    found: dict[tuple[str, str], list[tuple[str, Values]]] = {}
    for arch in archs:
        for gate, part, own in values.gates(plan, arch):
            found.setdefault((gate, part), []).append((arch, own))
    numbers = []
    for (gate, part), of_archs in found.items():
        pooled = pool_seeds([components_of_values(own) for _, own in of_archs])
        for (arch, own), components in zip(of_archs, pooled, strict=True):
            pairs = 2 if gate == "consistency" else 1
            name = f"{arch}, {part}" if part else arch
            value, margin = mean_over_runs(own), plan.margins[gate]
            fails = compare_interval(value, value, margin, RELATIONS[gate]) == FAIL
            numbers.append(PlannedNumber(gate, name, value, margin, components, pairs, arch, fails))
    return numbers
