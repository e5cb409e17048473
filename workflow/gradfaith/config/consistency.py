"""Find contradictions between the keys of a study, and options that no plug-in can use."""

import re
from collections.abc import Sequence
from importlib.util import find_spec

from gradfaith.config import claim_tests, derived_metrics, method_uses
from gradfaith.config.architecture import PACKAGED_WEIGHTS, PYPI, decoder_problems
from gradfaith.config.dataset import Dataset
from gradfaith.config.sections import LABEL_PATTERN
from gradfaith.config.study import Study
from gradfaith.registry import did_you_mean, entry
from gradfaith.vocabulary import (
    BETWEEN_IMAGES,
    BY_AREA,
    EXTENDED,
    PARTS,
    RANDOMISATION,
    REFERENCE,
    SEED_PAIRS,
    SHUFFLED,
)

TRAINING_FIGURE = "training"
PURPOSE_OF_PART = {"train": "train on", "val": "choose the epoch and the temperature by", "test": "measure"}


def find_contradictions(study: Study, dataset: Dataset, methods: Sequence[str]) -> list[str]:
    """Return the contradictions between keys, each as `key: what and why`.

    `methods` are all labels that a map can have: methods, controls and shuffled copies.
    """
    checks = (
        _agreement, _localization, _figures, _limits, _batteries, _regional, _names, _primary, _weights, _packages,
        _training, _parts, _randomisation, _derived, _privacy, _margins,
    )  # fmt: skip
    return [line for check in checks for line in check(study, dataset, methods)]


def _privacy(_study: Study, dataset: Dataset, _methods: Sequence[str]) -> list[str]:
    """Check that no setting needs the names that a private dataset hides."""
    inferred = dataset.inferred_groups
    by_name = {
        "sources": (bool(dataset.sources), "the record of fetched files names every file"),
        "files": (bool(dataset.files), "it compares the files with a release by their names"),
        "options.masks": (bool(dataset.options.get("masks")), "errors would show the names in that folder"),
        "groups.must_links": (bool(inferred and inferred.must_links), "it names pairs of files"),
        "groups.cues": (
            bool(inferred and "order" in inferred.cues),
            "order is read off the numbers in names",
        ),
    }
    place = f"config/datasets/{dataset.name}.yaml"
    return [
        f"{place}: {key}: {why}, and the dataset is private"
        for key, (used, why) in by_name.items()
        if dataset.private and used
    ]


def _agreement(study: Study, _dataset: Dataset, _methods: Sequence[str]) -> list[str]:
    labels, archs, alone = ", ".join(study.agreement), list(study.architectures), len(study.seeds) < 2
    models, agreeing = len(archs) * len(study.seeds), set(study.across) - {"localization"}
    lines = []
    if labels and alone and not agreeing:
        lines.append(f"agreement: {labels} compares models of several seeds, but seeds is {study.seeds}")
    if alone and study.primary.metric in study.agreement:
        lines.append(
            f"primary.metric: {study.primary.metric} compares models of several seeds, but seeds is {study.seeds}"
        )
    if agreeing and not labels:
        lines.append("across: it uses the metrics of `agreement`, but the study has none")
    if {"architectures", "localization"} & set(study.across) and len(archs) < 2:
        lines.append(f"across: it compares architectures, but the study has only {archs[0]}")
    if "localization" in study.across and not study.localization:
        lines.append("across: `localization` uses the metrics of this key, but the study has none")
    if "ensemble" in study.across and models < 3:
        lines.append(
            f"across: an ensemble leaves one model out and needs two others, but the study has {models} models"
        )
    taken = sorted({"across", "ensemble"} & set(archs)) if study.across else []
    return lines + [f"architectures.{name}: this name is reserved for the scores of `across`" for name in taken]


def _localization(study: Study, dataset: Dataset, _methods: Sequence[str]) -> list[str]:
    declared = {label: entry("localization", use.use).declared for label, use in study.localization.items()}
    reads = {
        label: what.get("evidence", EXTENDED)
        for label, what in declared.items()
        if what.get("region", "evidence") == "evidence"
    }
    empty = [
        f"localization.{label}.options.{option}: it is empty, so {label} would measure nothing"
        for label, use in study.localization.items()
        if (option := declared[label].get("variants")) and not use.options[option]
    ]
    if dataset.evidence == "none":
        wanted = ", ".join(reads)
        has = f"dataset {dataset.name} has none (evidence: none)"
        return empty + ([f"localization: {wanted} compares maps with evidence, but {has}"] if reads else [])
    return empty + [
        f"localization: {label} needs evidence {' or '.join(kinds)}, but the evidence of dataset {dataset.name} is {dataset.evidence}"
        for label, kinds in reads.items()
        if dataset.evidence not in kinds
    ]


def _batteries(study: Study, _dataset: Dataset, _methods: Sequence[str]) -> list[str]:
    lines = []
    for name, battery in study.batteries.items():
        declared = {label: entry("faithfulness", use.use).declared for label, use in battery.metrics.items()}
        kinds = {label: what["battery"] for label, what in declared.items()}
        filled = [label for label, what in declared.items() if what.get("imputed", True)]
        if len(set(kinds.values())) > 1:
            said = ", ".join(f"{label} ({kind})" for label, kind in kinds.items())
            lines.append(
                f"batteries.{name}.metrics: {said} are of different kinds, but the metrics of a battery share their modified "
                "images; give each kind its own battery"
            )
        if filled and not battery.imputers:
            lines.append(
                f"batteries.{name}.imputers: {', '.join(filled)} removes pixels and needs an imputer, but the list is empty"
            )
        lines += [
            f"batteries.{name}.imputers.{label}: this name is reserved for a variant of other metrics"
            for label in battery.imputers
            if label in (SEED_PAIRS, REFERENCE, BETWEEN_IMAGES, BY_AREA)
        ]
        if battery.imputers and not filled:
            lines.append(
                f"batteries.{name}.imputers: {', '.join(battery.imputers)} would be used by none of {', '.join(kinds)}"
            )
    return lines


def _figures(study: Study, _dataset: Dataset, _methods: Sequence[str]) -> list[str]:
    """Find figures of trainings that another study ran, and option texts that cannot be a name."""
    drawn = [label for label, figure in study.figures.items() if figure.use == TRAINING_FIGURE and study.external]
    return [
        f"figures.{label}: it shows a training, but study {study.external} trained the models" for label in drawn
    ] + [
        f"figures.{label}.options.{option}: {text!a} is not a name"
        for label, figure in study.figures.items()
        for option, value in figure.options.items()
        for text in (value if isinstance(value, list | tuple) else [value])
        if isinstance(text, str) and text and not re.fullmatch(LABEL_PATTERN, text)
    ]


def _limits(study: Study, _dataset: Dataset, _methods: Sequence[str]) -> list[str]:
    return method_uses.limit_problems(study)


def _margins(study: Study, _dataset: Dataset, _methods: Sequence[str]) -> list[str]:
    known = _metrics(study)
    return [
        f"statistics.equivalence_margin: {label} is not one of {', '.join(known)}{did_you_mean(label, known)}"
        for label in study.statistics.equivalence_margin
        if label not in known
    ]


def _metrics(study: Study) -> list[str]:
    """Return the labels of all metrics, with duplicates."""
    faithfulness = (label for battery in study.batteries.values() for label in battery.metrics)
    return [*study.localization, *study.agreement, *faithfulness, *study.composite]


def _regional(study: Study, dataset: Dataset, _methods: Sequence[str]) -> list[str]:
    lines, kind = [], dataset.evidence
    has = "has none" if kind == "none" else "has points, without an extent"
    for name, battery in study.batteries.items():
        for label, use in battery.metrics.items():
            what, where = entry("faithfulness", use.use).declared, f"batteries.{name}.metrics: {label}"
            if what.get("regional") and kind not in EXTENDED:
                lines.append(
                    f"{where} removes regions of evidence, but dataset {dataset.name} {has} (evidence: {kind})"
                )
            if what["battery"] == "rendered" and kind != "parts":
                images = "reads a dataset's images without parts"
                lines.append(f"{where} {images}, but the evidence of dataset {dataset.name} is {kind}")
            if what.get("rival") and not what.get("contrast") and study.explain.only_correct:
                lines.append(
                    f"{where} compares maps of the predicted and the true class, but explain.only_correct keeps only "
                    "images where both are equal"
                )
    return lines


def _names(study: Study, _dataset: Dataset, methods: Sequence[str]) -> list[str]:
    twice = sorted({name for name in methods if methods.count(name) > 1})
    lines = [f"bundles: the label {name} is used twice, or is the name of a control" for name in twice]
    lines += [f"bundles.{name}: this name is reserved for the controls" for name in study.bundles if name == "controls"]
    lines += method_uses.method_problems(study)
    metrics = _metrics(study)
    lines += [
        f"metrics: the label {name} is used twice"
        for name in sorted({name for name in metrics if metrics.count(name) > 1})
    ]
    return lines


def _primary(study: Study, _dataset: Dataset, methods: Sequence[str]) -> list[str]:
    metrics = _metrics(study)
    primary = study.primary
    own = [label for bundle in study.bundles.values() for label in bundle.methods]
    controls = [name for name in methods if name not in own and not name.startswith(SHUFFLED)]
    rivals = [*controls, *(name for name in methods if name == SHUFFLED + primary.method)]
    offered = {"metric": metrics, "method": own, "against": rivals}
    return [
        f"primary.{key}: {name} is not one of {', '.join(known)}{did_you_mean(name, known)}"
        for key, known in offered.items()
        if (name := getattr(primary, key)) not in known
    ]


def _weights(study: Study, _dataset: Dataset, _methods: Sequence[str]) -> list[str]:
    if study.training != "none":
        return []
    bare = [name for name, spec in study.architectures.items() if spec.weights in ("", "none") and not spec.has_own]
    lines = [f"architectures.{name}.weights: `training: none` needs a weight file, but there is none" for name in bare]
    if len(study.seeds) > 1:
        lines.append(
            f"seeds: with `training: none`, the {len(study.seeds)} seeds {study.seeds} would have the same weights"
        )
    return lines


def _packages(study: Study, _dataset: Dataset, _methods: Sequence[str]) -> list[str]:
    packages = {
        label: PACKAGED_WEIGHTS[spec.weights.removeprefix(PYPI)].timm
        for label, spec in study.architectures.items()
        if spec.weights.startswith(PYPI)
    }
    return [
        f"architectures.{label}.weights: this package has weights of {timm}, not of {network}"
        for label, timm in packages.items()
        if (network := study.architectures[label].network(label)) != timm
    ]


def _training(study: Study, dataset: Dataset, _methods: Sequence[str]) -> list[str]:
    recipe, compute = study.training, study.compute
    lines = decoder_problems(study.architectures, recipe != "none" and not study.external, dataset.evidence)
    if compute.tensorboard and find_spec("tensorboard") is None:
        lines.append("compute.tensorboard: the package is not installed here (`pip install tensorboard`)")
    if recipe == "none" or study.external:
        return lines
    if recipe.precision == "fp16" and compute.device in ("cpu", "mps"):
        lines.append(f"training.precision: fp16 needs a CUDA device, but compute.device is {compute.device}; use bf16")
    random = [name for name, spec in study.architectures.items() if (spec.weights or recipe.weights) == "none"]
    if recipe.freeze != 0 and random:
        lines.append(
            f"training.freeze: {recipe.freeze} would keep random weights, because {', '.join(random)} has no pretrained weights"
        )
    return lines


def _parts(study: Study, _dataset: Dataset, _methods: Sequence[str]) -> list[str]:
    needed = ["test"] if study.training == "none" or study.external else PARTS
    lines = [
        f"split.{part}: 0 leaves no images to {PURPOSE_OF_PART[part]}"
        for part in needed
        if getattr(study.split, part) == 0
    ]
    reason = " (with `external` every image is a test image)" if study.external else ""
    lines += [
        f"explain.parts: {part} has no images, because split.{part} is 0{reason}"
        for part in study.explain.parts
        if part not in needed and getattr(study.split, part) == 0
    ]
    if "test" not in study.explain.parts:
        lines.append(f"explain.parts: {study.explain.parts} does not include test, the part that estimates use")
    return lines


def _randomisation(study: Study, _dataset: Dataset, _methods: Sequence[str]) -> list[str]:
    asked = study.randomisation
    if asked is None:
        drawn = [label for label, figure in study.figures.items() if figure.use == RANDOMISATION]
        return [
            f"figures.{label}: it shows results of `{RANDOMISATION}:`, but the study does not have this key"
            for label in drawn
        ]
    lines = [
        f"{RANDOMISATION}.bundles: {name} is not a bundle{did_you_mean(name, study.bundles)}"
        for name in asked.bundles
        if name not in study.bundles
    ]
    taken = RANDOMISATION in _metrics(study)
    return lines + (
        [f"metrics: the label {RANDOMISATION} is reserved for the scores of `{RANDOMISATION}:`"] if taken else []
    )


def _derived(study: Study, dataset: Dataset, methods: Sequence[str]) -> list[str]:
    """Check what is derived from other metrics: composites, tests of metrics, claims, and gates."""
    problems = derived_metrics.composite_problems(study) + derived_metrics.meta_problems(study, dataset)
    return problems + claim_tests.claim_problems(study, methods) + derived_metrics.verdict_problems(study)
