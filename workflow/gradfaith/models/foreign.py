"""Classifiers that were not trained in this study: a file of one's own with a head of its own, or another study's models.

Their outputs become the dataset's classes by a class map, which is kept in the spec and so in the card. Another study's
weights stay where they lie: what is written here is a card, with the temperature that was fitted there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from gradfaith.errors import ModelUnusable
from gradfaith.models import checkpoint, weightfile
from gradfaith.models.build import Classifier, Spec, build
from gradfaith.models.vision import timm


def as_in_file(spec: Spec, weights: Path, class_map: Sequence[Sequence[int]], classes: Sequence[str]) -> Spec:
    """The spec with the head that the file has, answering with `classes`."""
    many = _head(weights, spec.timm)
    for name, outputs in zip(classes, class_map, strict=True):
        if max(outputs) >= many:
            raise ModelUnusable(
                found=f"class_map.{name}: output {max(outputs)} does not exist, the head in {weights} has {many} (from 0).",
                why="A class is made of outputs that the classifier has.",
                then="Look the outputs up where the classifier was trained, and mend class_map.",
            )
    return replace(spec, classes=many).mapped(class_map)


def adopted(
    weights: Path,
    card: Path,
    predictions: pd.DataFrame,
    settings: Mapping[str, Any],
    probe: Callable[[Classifier], None],
) -> dict[str, Any]:
    """The card of another study's model under this study's classes; `probe` refuses a network that a method has no map for."""
    spec = checkpoint.load(weights, card).spec.mapped(settings["class_map"])
    probe(build(spec))
    return {
        **checkpoint.read_card(card),
        "spec": spec.to_json(),
        "classes": list(settings["classes"]),
        "external": settings["external"],
        "temperature": float(predictions["temperature"].iloc[0]),
    }


def _head(weights: Path, name: str) -> int:
    """How many outputs the classifier in a file has."""
    heads = timm.get_pretrained_cfg(name).classifier
    first = heads if isinstance(heads, str) else (heads or ("",))[0]
    there = weightfile.read(weights)
    if f"{first}.weight" in there:
        return int(there[f"{first}.weight"].shape[0])
    raise _no_head(weights, name, f"it has no {first}.weight")


def _no_head(weights: Path, name: str, said: str) -> ModelUnusable:
    return ModelUnusable(
        found=f"{weights} is no classifier of the architecture {name}: {said}.",
        why="With a class map the number of outputs is read off the head in the file.",
        then="Give the weights of a network of this architecture, head included.",
    )
