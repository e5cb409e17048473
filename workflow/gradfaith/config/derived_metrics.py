"""Resolve what composites and `meta:` read of a study's other metrics, and find what the study lacks for them.

A composite is made of parts; a part is named by a metric's file. Where several labels of the study use that file, the label
that is called like the file is meant. A part is read with the composite's own imputer, or with one that the composite names:
the variants of a composite are the imputers that all parts of the first kind are measured with. `meta:` judges the metrics of
single maps by localization metrics that say how well a map shows the evidence.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradfaith import registry
from gradfaith.config import options
from gradfaith.config.dataset import Dataset
from gradfaith.config.job_settings import CompositePart, CompositeSettings
from gradfaith.config.study import Battery, PluginUse, Study
from gradfaith.registry import did_you_mean, entry


@dataclass(frozen=True)
class MeasuredMetric:
    """A metric of the study that a composite reads."""

    label: str
    battery: str
    within: Battery


def composite_sources(study: Study, label: str) -> tuple[CompositeSettings, list[str]]:
    """Return what `merge_scores` must know of a composite, and what the study lacks for it."""
    use, problems = study.composite[label], list[str]()
    wanted: Mapping[str, str] = registry.entry("composite", use.use).declared["parts"]
    parts, imputers = dict[str, CompositePart](), list[Mapping[str, PluginUse]]()
    for name, imputer in wanted.items():
        found = _part(study, name)
        if isinstance(found, str):
            problems.append(f"composite.{label}: {found}")
            continue
        if dict(found.within.metrics[found.label].options) != options.complete("faithfulness", name, {}):
            problems.append(
                f"composite.{label}: it reads {name} with its defaults, and {found.label} has options of its own; measure both, each under a label"
            )
        fills = found.within.imputers.items()
        fixed = [key for key, fill in fills if fill.use == imputer and fill.options == _plain(imputer)]
        if imputer and not fixed:
            problems.append(
                f"composite.{label}: it reads {name} filled by {imputer}; add {imputer} to batteries.{found.battery}.imputers"
            )
        if not imputer:
            imputers.append(found.within.imputers)
        parts[name] = CompositePart(metric=found.label, variant=fixed[0] if fixed else "")
    variants = _common(imputers)
    if not problems and not variants:
        own = ", ".join(name for name, imputer in wanted.items() if not imputer)
        problems.append(
            f"composite.{label}: {own} share no imputer; name one in the batteries of all of them, with equal options"
        )
    return CompositeSettings(use=use.use, options=use.options, parts=parts, variants=variants), problems


def composite_problems(study: Study) -> list[str]:
    """Return what is wrong with the composites, each as `key: what and why`."""
    return [line for label in study.composite for line in composite_sources(study, label)[1]]


def _part(study: Study, name: str) -> MeasuredMetric | str:
    """Return the metric of the study that is meant, or why there is none."""
    measured = [
        MeasuredMetric(label, battery, within)
        for battery, within in study.batteries.items()
        for label, use in within.metrics.items()
        if use.use == name
    ]
    kind = registry.entry("faithfulness", name).declared["battery"]
    if not measured:
        there = [key for key, within in study.batteries.items() if within.kind == kind]
        return f"it is made of {name}, which the study does not measure; add it to the metrics of " + (
            f"batteries.{there[0]}" if there else f"a {kind} battery (`batteries: {{{kind}: {{metrics: [{name}]}}}}`)"
        )
    named = [part for part in measured if part.label == name]
    if len(measured) > 1 and not named:
        labels = ", ".join(part.label for part in measured)
        return f"it is made of {name}, which is measured as {labels}; call the one that is meant {name}"
    return named[0] if named else measured[0]


def _plain(imputer: str) -> dict[str, Any]:
    return options.complete("imputers", imputer, {})


def _common(named: Sequence[Mapping[str, PluginUse]]) -> list[str]:
    """Return the imputers that mean the same everywhere, in the order of the first battery."""
    return [key for key, use in (named[0] if named else {}).items() if all(other.get(key) == use for other in named)]


META = "meta"
FEWEST = 3  # methods that can be ranked


def judged_labels(study: Study) -> list[str]:
    """Return the metrics of single maps; those that compare models are not judged."""
    faithfulness = (name for battery in study.batteries.values() for name in battery.metrics)
    return [*study.localization, *faithfulness, *study.composite]


def meta_problems(study: Study, dataset: Dataset) -> list[str]:
    """Return contradictions of `meta:` with the rest of the study, each as `key: what and why`."""
    if study.meta is None:
        drawn = [label for label, figure in study.figures.items() if figure.use == META]
        return [f"figures.{label}: it draws what `{META}:` measures, and the study has no such key" for label in drawn]
    if dataset.evidence == "none":
        return [f"{META}: it judges metrics by evidence, and dataset {dataset.name} has none (evidence: none)"]
    truths = study.meta.truth
    return [*_truths(study, truths), *_judged(study, truths, study.meta.against), *_drawn(study, truths)]


def _truths(study: Study, truths: list[str]) -> Iterator[str]:
    for name in truths:
        if name not in study.localization:
            meant = did_you_mean(name, study.localization)
            yield f"{META}.truth: {name} is no localization metric of the study{meant}"
            continue
        declared = entry("localization", study.localization[name].use).declared
        if declared["better"] == "neither" or declared.get("region", "evidence") != "evidence":
            yield f"{META}.truth: {name} does not say how well a map shows the evidence"


def _judged(study: Study, truths: list[str], against: str) -> Iterator[str]:
    rivals = [name for name in judged_labels(study) if name not in truths]
    if not rivals:
        yield f"{META}: beside {', '.join(truths)} the study has no metric to judge"
    elif against and against not in rivals:
        yield f"{META}.against: {against} is none of {', '.join(rivals)}"
    own = sum(len(bundle.methods) for bundle in study.bundles.values())
    if own < FEWEST:
        yield f"{META}: it ranks methods, three at least, and the study has {own}"


def _drawn(study: Study, truths: list[str]) -> Iterator[str]:
    """Figures that would be empty."""
    for label, figure in study.figures.items():
        offered = {"truth": truths, "arch": list(study.architectures)} if figure.use == META else {}
        for option, known in offered.items():
            asked = figure.options[option]
            if asked and asked not in known:
                yield f"figures.{label}.options.{option}: {asked} is none of {', '.join(known)}"
