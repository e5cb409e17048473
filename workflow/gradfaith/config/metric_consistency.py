"""What `meta:` judges in a study, and what is wrong with it: no torch is needed to know either."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradfaith.registry import did_you_mean, entry

if TYPE_CHECKING:
    from gradfaith.config.dataset import Dataset
    from gradfaith.config.study import Study

META = "meta"
FEWEST = 3  # methods that can be ranked


def labels(study: "Study") -> list[str]:
    """The metrics of single maps; those that compare models are not judged."""
    faithfulness = (name for battery in study.batteries.values() for name in battery.metrics)
    return [*study.localization, *faithfulness, *study.composite]


def problems(study: "Study", dataset: "Dataset") -> list[str]:
    """Contradictions with the rest of the study, each as `key: what and why`."""
    if study.meta is None:
        drawn = [label for label, figure in study.figures.items() if figure.use == META]
        return [f"figures.{label}: it draws what `{META}:` measures, and the study has no such key" for label in drawn]
    if dataset.evidence == "none":
        return [f"{META}: it judges metrics by evidence, and dataset {dataset.name} has none (evidence: none)"]
    truths = study.meta.truth
    return [*_truths(study, truths), *_judged(study, truths, study.meta.against), *_drawn(study, truths)]


def _truths(study: "Study", truths: list[str]) -> Iterator[str]:
    for name in truths:
        if name not in study.localization:
            meant = did_you_mean(name, study.localization)
            yield f"{META}.truth: {name} is no localization metric of the study{meant}"
            continue
        declared = entry("localization", study.localization[name].use).declared
        if declared["better"] == "neither" or declared.get("region", "evidence") != "evidence":
            yield f"{META}.truth: {name} does not say how well a map shows the evidence"


def _judged(study: "Study", truths: list[str], against: str) -> Iterator[str]:
    rivals = [name for name in labels(study) if name not in truths]
    if not rivals:
        yield f"{META}: beside {', '.join(truths)} the study has no metric to judge"
    elif against and against not in rivals:
        yield f"{META}.against: {against} is none of {', '.join(rivals)}"
    own = sum(len(bundle.methods) for bundle in study.bundles.values())
    if own < FEWEST:
        yield f"{META}: it ranks methods, three at least, and the study has {own}"


def _drawn(study: "Study", truths: list[str]) -> Iterator[str]:
    """Figures that would be empty."""
    for label, figure in study.figures.items():
        offered = {"truth": truths, "arch": list(study.architectures)} if figure.use == META else {}
        for option, known in offered.items():
            asked = figure.options[option]
            if asked and asked not in known:
                yield f"figures.{label}.options.{option}: {asked} is none of {', '.join(known)}"
