"""Resolve the metrics that composites, `meta:` and the verdict read, and find those that the study lacks.

A composite combines parts; a part is the name of a metric's file. If several labels of the study use that file, the label
with the file's name is used. A part is read with the composite's own imputer, or with one that the composite names: the
variants of a composite are the imputers that all parts of the first kind share. `meta:` compares the metrics of single maps
with localization metrics, which measure how well a map shows the evidence. A gate of the verdict reads one metric; without it
the gate is not testable.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradfaith import registry
from gradfaith.config import options
from gradfaith.config.dataset import Dataset
from gradfaith.config.job_settings import AcrossSettings, CompositePart, CompositeSettings
from gradfaith.config.study import Battery, PluginUse, Study
from gradfaith.config.verdict import GATES, MIN_SEEDS
from gradfaith.registry import did_you_mean, entry
from gradfaith.vocabulary import RANDOMISATION, SEED_PAIRS


def across_settings(study: Study) -> AcrossSettings:
    """Return how architectures are compared, with the metrics that do it."""
    localization = study.localization if "localization" in study.across else {}
    return AcrossSettings(seed=study.seed, across=study.across, metrics=study.agreement, localization=localization)


@dataclass(frozen=True)
class MeasuredMetric:
    """A metric of the study that a composite reads."""

    label: str
    battery: str
    within: Battery


def composite_sources(study: Study, label: str) -> tuple[CompositeSettings, list[str]]:
    """Return the settings of a composite for `merge_scores`, and the problems of the study with it."""
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
                f"composite.{label}: it reads {name} with its defaults, but {found.label} has other options; add {name} with its defaults, too"
            )
        fills = found.within.imputers.items()
        fixed = [key for key, fill in fills if fill.use == imputer and fill.options == _plain(imputer)]
        if imputer and not fixed:
            problems.append(
                f"composite.{label}: it reads {name} with imputer {imputer}; add {imputer} to batteries.{found.battery}.imputers"
            )
        if not imputer:
            imputers.append(found.within.imputers)
        parts[name] = CompositePart(metric=found.label, variant=fixed[0] if fixed else "")
    variants = _common(imputers) if any(imputers) else [""] * bool(imputers)  # rendered batteries have no imputers
    if not problems and not variants:
        own = ", ".join(name for name, imputer in wanted.items() if not imputer)
        problems.append(
            f"composite.{label}: {own} share no imputer; add one, with equal options, to the batteries of all of them"
        )
    return CompositeSettings(use=use.use, options=use.options, parts=parts, variants=variants), problems


def composite_problems(study: Study) -> list[str]:
    """Return the problems of the composites, each as `key: what and why`."""
    return [line for label in study.composite for line in composite_sources(study, label)[1]]


def _part(study: Study, name: str) -> MeasuredMetric | str:
    """Return the metric of the study for a part, or why there is none."""
    measured = [
        MeasuredMetric(label, battery, within)
        for battery, within in study.batteries.items()
        for label, use in within.metrics.items()
        if use.use == name
    ]
    kind = registry.entry("faithfulness", name).declared["battery"]
    if not measured:
        there = [key for key, within in study.batteries.items() if within.kind == kind]
        return f"its part {name} is not a metric of the study; add it to the metrics of " + (
            f"batteries.{there[0]}" if there else f"a {kind} battery (`batteries: {{{kind}: {{metrics: [{name}]}}}}`)"
        )
    named = [part for part in measured if part.label == name]
    if len(measured) > 1 and not named:
        labels = ", ".join(part.label for part in measured)
        return f"its part {name} has the labels {labels}; give one of them the label {name}"
    return named[0] if named else measured[0]


def _plain(imputer: str) -> dict[str, Any]:
    return options.complete("imputers", imputer, {})


def _common(named: Sequence[Mapping[str, PluginUse]]) -> list[str]:
    """Return the imputers with equal options everywhere, in the order of the first battery."""
    return [key for key, use in (named[0] if named else {}).items() if all(other.get(key) == use for other in named)]


META = "meta"
FEWEST = 3  # methods that can be ranked


def judged_labels(study: Study) -> list[str]:
    """Return the metrics of single maps; those that compare models are not judged."""
    faithfulness = (name for battery in study.batteries.values() for name in battery.metrics)
    return [*study.localization, *faithfulness, *study.composite]


def judged_settings(metrics: Mapping[str, Mapping[str, PluginUse]]) -> dict[str, Any]:
    """Return what `meta` must know of the metrics of single maps; `metrics`: family -> label -> use."""
    judged = {
        label: entry(family, use.use).declared
        for family, named in metrics.items()
        if family != "agreement"
        for label, use in named.items()
    }
    order_only = [label for label, declared in judged.items() if "monotone" in declared.get("invariances", ())]
    return {"better": {label: declared["better"] for label, declared in judged.items()}, "order_only": order_only}


def meta_problems(study: Study, dataset: Dataset) -> list[str]:
    """Return contradictions of `meta:` with the rest of the study, each as `key: what and why`."""
    if study.meta is None:
        drawn = [label for label, figure in study.figures.items() if figure.use == META]
        return [
            f"figures.{label}: it shows results of `{META}:`, but the study does not have this key" for label in drawn
        ]
    if dataset.evidence == "none":
        return [f"{META}: it compares metrics with evidence, but dataset {dataset.name} has none (evidence: none)"]
    truths = study.meta.truth
    return [*_truths(study, truths), *_judged(study, truths, study.meta.against), *_drawn(study, truths)]


def _truths(study: Study, truths: list[str]) -> Iterator[str]:
    composites = {label for label, use in study.composite.items() if entry("composite", use.use).declared.get("truth")}
    for name in truths:
        if name in composites:
            continue
        if name not in study.localization:
            meant = did_you_mean(name, [*study.localization, *composites])
            yield f"{META}.truth: {name} is not a localization metric of the study{meant}"
        elif name not in evidence_labels(study):
            yield f"{META}.truth: {name} does not measure how well a map shows the evidence"


def _judged(study: Study, truths: list[str], against: str) -> Iterator[str]:
    rivals = [name for name in judged_labels(study) if name not in truths]
    if not rivals:
        yield f"{META}: the study has no metric to evaluate besides {', '.join(truths)}"
    elif against and against not in rivals:
        yield f"{META}.against: {against} is not one of {', '.join(rivals)}"
    own = sum(len(bundle.methods) for bundle in study.bundles.values())
    if own < FEWEST:
        yield f"{META}: it ranks methods and needs at least three, but the study has {own}"


def _drawn(study: Study, truths: list[str]) -> Iterator[str]:
    """Yield the figures that would be empty."""
    for label, figure in study.figures.items():
        offered = {"truth": truths, "arch": list(study.architectures)} if figure.use == META else {}
        for option, known in offered.items():
            asked = figure.options[option]
            if asked and asked not in known:
                yield f"figures.{label}.options.{option}: {asked} is not one of {', '.join(known)}"


def evidence_labels(study: Study) -> list[str]:
    """Return the metrics that measure how well a map shows the evidence."""
    declared = {label: entry("localization", use.use).declared for label, use in study.localization.items()}
    return [
        label
        for label, what in declared.items()
        if what["better"] != "neither" and what.get("region", "evidence") == "evidence"
    ]


def primary_variant(study: Study, label: str) -> str:
    """Return the primary variant of a metric: its battery's first imputer, all pairs, or the first threshold."""
    if label in study.localization:
        use = study.localization[label]
        option = entry("localization", use.use).declared.get("variants")
        return str(use.options[option][0]) if option else ""
    if label in study.composite:
        return composite_sources(study, label)[0].variants[0]
    for battery in study.batteries.values():
        if label in battery.metrics:
            declared = entry("faithfulness", battery.metrics[label].use).declared
            return next(iter(battery.imputers)) if declared.get("imputed", True) else ""
    return SEED_PAIRS if label in study.agreement else ""


def primary_contrast(study: Study) -> dict[str, Any]:
    """Return the comparison that is named beforehand, with its variant and the number of architectures."""
    variant = primary_variant(study, study.primary.metric)
    return dict(study.primary.model_dump(), variant=variant, architectures=len(study.architectures))


VERDICT = "verdict"


def gate_metrics(study: Study, dataset: Dataset) -> tuple[dict[str, str], dict[str, str]]:
    """Return gate -> the metric of the study that it reads, and gate -> why the study cannot test it."""
    faith = {label: use.use for battery in study.batteries.values() for label, use in battery.metrics.items()}
    located = evidence_labels(study) if dataset.evidence != "none" else []
    named = study.verdict.localization_metric if study.verdict else None
    found = {
        "balanced_accuracy": "balanced_accuracy",
        "localization": named or _first(located, study.primary.metric, "iou_area_matched", "saliency_score"),
        "faith_gain": _first([label for label, use in faith.items() if use == "faith"], study.primary.metric, "faith"),
        "randomisation": RANDOMISATION if study.randomisation else "",
        "consistency": _first(list(study.agreement), "consist") if len(study.seeds) >= MIN_SEEDS else "",
        "shortcut_lift": _first(
            [label for label, use in study.localization.items() if use.use == "shortcut_lift"], "shortcut_lift"
        ),
        "missing_maps": "",
    }
    seeds = f"{len(study.seeds)} seed{'s' * (len(study.seeds) != 1)}, and this gate needs {MIN_SEEDS}"
    masks = f"dataset {dataset.name} has no masks" if dataset.evidence == "none" else "the study has no such metric"
    reasons = {
        "localization": masks,
        "faith_gain": "the study does not measure Faith",
        "randomisation": f"the study has no key `{RANDOMISATION}`",
        "consistency": seeds if len(study.seeds) < MIN_SEEDS else "the study has no agreement metric",
        "shortcut_lift": "no known shortcut: the study does not measure shortcut_lift",
    }
    return found, {gate: reason for gate, reason in reasons.items() if not found[gate]}


def gate_settings(study: Study, dataset: Dataset) -> dict[str, Any]:
    """Return what the gates read, with their margins; the default for balanced accuracy depends on the number of classes."""
    assert study.verdict  # otherwise there are no gates
    metrics, untested = gate_metrics(study, dataset)
    margins = study.verdict.model_dump(include=set(GATES))
    halfway = (1 + 1 / len(dataset.classes)) / 2
    return {
        "margins": margins | ({"balanced_accuracy": halfway} if margins["balanced_accuracy"] is None else {}),
        "metrics": {gate: label for gate, label in metrics.items() if label},
        "localization_variant": primary_variant(study, metrics["localization"]),
        "untested": untested,
        "classes": dataset.classes,
    }


def verdict_problems(study: Study) -> list[str]:
    """Return contradictions of `verdict:` with the rest of the study, each as `key: what and why`."""
    named = study.verdict.localization_metric if study.verdict else None
    known = evidence_labels(study)
    if named is None or named in known:
        return []
    key = f"{VERDICT}.localization_metric: {named}"
    if named in study.localization:
        return [f"{key} does not measure how well a map shows the evidence"]
    return [f"{key} is not a localization metric of the study{did_you_mean(named, known)}"]


def _first(labels: Sequence[str], *preferred: str) -> str:
    """Return the first preferred label that is there, else the first label, else an empty text."""
    return next((name for name in (*preferred, *labels) if name in labels), "")
