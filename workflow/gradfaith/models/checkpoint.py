"""Classifiers that were not trained in this study: a file of one's own with a head of its own, or another study's models.

Their outputs become the dataset's classes by a class map, which is kept in the spec and so in the card. Another study's
weights stay where they lie: what is written here is a card, with the temperature that was fitted there.

A trained model on disk: `weights.safetensors` and, beside it, `card.json` that says what it is.

The card holds what is needed to build the classifier again (its spec), where it comes from (recipe, seed, dataset
digest, class names, best epoch, device, versions) and the SHA-256 of the weights, which is checked before they are
used. Both files are written under temporary names and renamed, the card last: a card never speaks of weights that are
not there. Only safetensors is read: a pickle would run whatever code it carries.
"""

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialise

from gradfaith.errors import ModelUnusable
from gradfaith.models import weight_file
from gradfaith.models.classifier import Classifier, Spec, build
from gradfaith.models.timm_import import timm
from gradfaith.storage import atomic


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
    spec = load(weights, card).spec.mapped(settings["class_map"])
    probe(build(spec))
    return {
        **read_card(card),
        "spec": spec.to_json(),
        "classes": list(settings["classes"]),
        "external": settings["external"],
        "temperature": float(predictions["temperature"].iloc[0]),
    }


def _head(weights: Path, name: str) -> int:
    """How many outputs the classifier in a file has."""
    heads = timm.get_pretrained_cfg(name).classifier
    first = heads if isinstance(heads, str) else (heads or ("",))[0]
    there = weight_file.read(weights)
    if f"{first}.weight" in there:
        return int(there[f"{first}.weight"].shape[0])
    raise _no_head(weights, name, f"it has no {first}.weight")


def _no_head(weights: Path, name: str, said: str) -> ModelUnusable:
    return ModelUnusable(
        found=f"{weights} is no classifier of the architecture {name}: {said}.",
        why="With a class map the number of outputs is read off the head in the file.",
        then="Give the weights of a network of this architecture, head included.",
    )


FORMAT_VERSION = 1
WEIGHTS, CARD = "weights.safetensors", "card.json"
VERSIONED = ("gradfaith", "torch", "timm", "numpy", "safetensors")


def save(folder: Path, classifier: Classifier, card: Mapping[str, Any]) -> Path:
    """Write the classifier and its card into `folder`; returns the path of the weights."""
    weights = serialise({name: value.detach().cpu().contiguous() for name, value in classifier.state_dict().items()})
    whole = {
        **card,
        "format": FORMAT_VERSION,
        "spec": classifier.spec.to_json(),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in VERSIONED},
    }
    with atomic.replacing(folder / WEIGHTS) as draft:
        draft.write_bytes(weights)
    write_card(folder / CARD, whole)
    return folder / WEIGHTS


def write_card(path: Path, card: Mapping[str, Any]) -> None:
    atomic.write_text(path, json.dumps(card, indent=2, sort_keys=True) + "\n")


def load(weights: Path, card_path: Path) -> Classifier:
    """The classifier whose weights lie at `weights`, in evaluation mode, on the CPU.

    Its card lies beside them only where they were trained: a study of other outputs, or of another order, has its own.
    """
    card = read_card(card_path)
    content = _read(weights)
    if hashlib.sha256(content).hexdigest() != card["weights_sha256"]:
        raise ModelUnusable(
            found=f'"{weights}" is not the file its card describes (SHA-256 differs).',
            why="Weights that were cut off or exchanged would be explained under another model's name.",
            then="Delete the folder and train again, or copy weights and card together.",
        )
    classifier = build(Spec.from_json(card["spec"]), seed=0)
    try:
        classifier.load_state_dict(parse(content))
    except (SafetensorError, RuntimeError) as error:
        raise ModelUnusable(
            found=f'"{weights}" does not fit the architecture {card["spec"]["timm"]}: {str(error).splitlines()[0]}',
            why="Every tensor of the architecture must be in the file, in its shape, in safetensors format.",
            then="Install the timm version the card names, or train again.",
        ) from error
    return classifier.eval()


def read_card(path: Path) -> dict[str, Any]:
    """The card at `path`, refused where it is not one of ours."""
    try:
        card = json.loads(_read(path))
    except ValueError as error:
        raise _foreign(path, f"it is no JSON ({error})") from error
    if (
        not isinstance(card, dict)
        or card.get("format") != FORMAT_VERSION
        or not {"spec", "weights_sha256"} <= set(card)
    ):
        raise _foreign(path, f"format {FORMAT_VERSION} with spec and weights_sha256 was expected")
    return card


def digest(path: Path) -> str:
    """The SHA-256 of a file, as the cards and the stamps of the stores carry it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelUnusable(
            found=f'"{path}" cannot be read: {error.strerror}.',
            why="A model is its weights and its card, side by side in one folder.",
            then="Train it, or give the path of a weights.safetensors that has its card.json beside it.",
        ) from error


def _foreign(path: Path, reason: str) -> ModelUnusable:
    return ModelUnusable(
        found=f'"{path}" is not the card of a model: {reason}.',
        why="Without its card nobody knows what the weights belong to.",
        then="Train again with this version, or give a model's own folder.",
    )
