"""Resolve and check `class_map:`, the indices of a classifier's outputs for each class of the dataset.

Without it, and without `external`, the outputs are the dataset's classes in their order. With `external`, classes are matched
by name, in any order. If the names differ, the map must list the outputs of each class; outputs that it omits are not used.
One class may have no output if every network has a sigmoid head: it stands for "no finding of the other classes".
"""

from collections.abc import Sequence

from gradfaith.config.dataset import Dataset
from gradfaith.config.study import Study
from gradfaith.registry import did_you_mean

ClassOutputs = tuple[tuple[int, ...], ...]  # of each class of the dataset, in its order


def resolve_class_map(study: Study, dataset: Dataset, trained: Sequence[str]) -> tuple[ClassOutputs, list[str]]:
    """Return the outputs of each class, and the problems of the map; `trained`: classes of the external study's models, if any."""
    if study.external and not study.class_map:
        problems = _same_names(study, dataset, trained)
        return (() if problems else tuple((trained.index(name),) for name in dataset.classes)), problems
    if not study.class_map:
        return (), []
    if not study.external and study.training != "none":
        said = "class_map: a network trained in this study predicts the dataset's classes; class_map needs `training: none` or `external`"
        return (), [said]
    problems = _keys(study, dataset)
    found = {name: [_index(output, trained) for output in named] for name, named in study.class_map.items()}
    problems += [
        f"class_map.{name}: {said}"
        for name, indices in found.items()
        for output, index in zip(study.class_map[name], indices, strict=True)
        if (said := _fault(output, index, study, trained))
    ]
    problems += _empty(study)
    used = [index for indices in found.values() for index in indices if index is not None]
    twice = sorted({index for index in used if used.count(index) > 1})
    problems += [
        f"class_map: output {index}{f' ({trained[index]})' if index < len(trained) else ''} is used twice"
        for index in twice
    ]
    if problems:
        return (), problems
    return tuple(tuple(index for index in found[name] if index is not None) for name in dataset.classes), []


def head_problems(study: Study, dataset: Dataset) -> list[str]:
    """Return the heads that cannot be trained here."""
    if study.training == "none" or study.external:
        return []
    count = len(dataset.classes)
    return [
        f"architectures.{name}.head: probabilities cannot be trained; let the network return logits"
        if spec.head == "probabilities"
        else f"architectures.{name}.head: a sigmoid head is trained for two classes, but dataset {dataset.name} has {count}"
        for name, spec in study.architectures.items()
        if spec.head == "probabilities" or (spec.head == "sigmoid" and count > 2)
    ]


def _empty(study: Study) -> list[str]:
    """Check that at most one class has no output, and only with sigmoid heads."""
    empty = [name for name, outputs in study.class_map.items() if not outputs]
    findings = not study.external and all(spec.head == "sigmoid" for spec in study.architectures.values())
    if len(empty) <= int(findings):
        return []
    why = "only one class can stand for no finding" if findings else "this needs `head: sigmoid` in every architecture"
    return [f"class_map: {' and '.join(empty)} has no output; {why}"]


def describe_class_map(study: Study, dataset: Dataset) -> str:
    """Return the map as a sentence for tables."""
    if not study.class_map:
        return ""
    named = {
        name: " + ".join(f"output {one}" if isinstance(one, int) else one for one in study.class_map[name])
        or "no output of the others"
        for name in dataset.classes
    }
    made = ", ".join(f"{name} of {outputs}" for name, outputs in named.items())
    return f"Classes combine the classifier's outputs: {made}. Probabilities are conditional on these outputs."


def _same_names(study: Study, dataset: Dataset, trained: Sequence[str]) -> list[str]:
    if set(trained) == set(dataset.classes):
        return []
    return [
        f"external: the models of {study.external} predict {', '.join(trained)}, but dataset {dataset.name} has the classes "
        f"{', '.join(dataset.classes)}; list in class_map the outputs of each class"
    ]


def _keys(study: Study, dataset: Dataset) -> list[str]:
    lines = [f"class_map: the class {name} has no output" for name in dataset.classes if name not in study.class_map]
    return lines + [
        f"class_map.{name}: dataset {dataset.name} has no such class{did_you_mean(name, dataset.classes)}"
        for name in study.class_map
        if name not in dataset.classes
    ]


def _index(output: int | str, trained: Sequence[str]) -> int | None:
    if isinstance(output, int):
        return output
    return trained.index(output) if output in trained else None


def _fault(output: int | str, index: int | None, study: Study, trained: Sequence[str]) -> str:
    if not study.external:
        return (
            f'"{output}" is a name, but without `external` outputs have no names; use its index'
            if index is None
            else ""
        )
    if index is None:
        return f'the models of {study.external} have no class "{output}"{did_you_mean(str(output), trained)}'
    if index >= len(trained):
        return f"output {index} does not exist; the models of {study.external} have outputs 0 to {len(trained) - 1}"
    return ""
