"""Of which scores of a study a composite is made, and what is missing of them; nothing here imports torch.

A part is named by the metric's file. Where several labels of the study use that file, the one called like it is meant. A part is
read with the composite's own imputer, or with one that the composite names: the variants of a composite are the
imputers that all parts of the first kind are measured with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradfaith import registry
from gradfaith.config import options
from gradfaith.config.study import Battery, Study, Uses


@dataclass(frozen=True)
class Part:
    """A metric of the study that a composite reads."""

    label: str
    battery: str
    within: Battery


def made_of(study: Study, label: str) -> tuple[dict[str, Any], list[str]]:
    """What the step that collects must know of a composite, and what the study lacks for it."""
    use, problems = study.composite[label], list[str]()
    wanted: Mapping[str, str] = registry.entry("composite", use.use).declared["parts"]
    parts, imputers = dict[str, dict[str, str]](), list[Mapping[str, Uses]]()
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
        parts[name] = {"metric": found.label, "variant": fixed[0] if fixed else ""}
    variants = _common(imputers)
    if not problems and not variants:
        own = ", ".join(name for name, imputer in wanted.items() if not imputer)
        problems.append(
            f"composite.{label}: {own} share no imputer; name one in the batteries of all of them, with equal options"
        )
    return {"use": use.use, "options": use.options, "parts": parts, "variants": variants}, problems


def problems(study: Study) -> list[str]:
    """Of all composites, each as `key: what and why`."""
    return [line for label in study.composite for line in made_of(study, label)[1]]


def _part(study: Study, name: str) -> Part | str:
    """The metric of the study that is meant, or why there is none."""
    measured = [
        Part(label, battery, within)
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


def _common(named: Sequence[Mapping[str, Uses]]) -> list[str]:
    """The imputers that mean the same everywhere, in the first one's order."""
    return [key for key, use in (named[0] if named else {}).items() if all(other.get(key) == use for other in named)]
