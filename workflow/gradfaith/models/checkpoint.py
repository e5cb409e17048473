"""Write and read a trained model: `weights.safetensors`, and the `card.json` beside it that describes it.

The card contains everything for building the classifier again (its spec), its origin (recipe, seed, dataset digest,
class names, best epoch, device, versions) and the SHA-256 of the weights, which is checked before they are used.
Both files are written under temporary names and renamed, the card last, so a card always describes existing weights.
Only safetensors is read, because a pickle can run code.

Classifiers that were not trained in this study are supported too: a user's weight file with a head of its own
(`spec_with_head_of_file`), or the models of another study (`adopt_card`). A class map in the spec converts their
outputs into the dataset's classes. Another study's weights are not copied; only a card is written here, with the
temperature that was fitted there.
"""

import hashlib
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

from gradfaith.config.job_settings import AdoptSettings
from gradfaith.errors import BrokenDocument, ModelUnusable
from gradfaith.models import own_network, weight_file
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.models.timm_import import timm
from gradfaith.storage import atomic, json_file
from gradfaith.storage.identity import CARD_FORMAT


def spec_with_head_of_file(
    spec: ClassifierSpec, weights: Path | None, class_map: Sequence[Sequence[int]], classes: Sequence[str]
) -> ClassifierSpec:
    """Return the spec with the network's own number of outputs, mapped to `classes` (names) by `class_map`.

    The head in the weight file gives the number, or the network itself if it is a user's own or an ONNX file.
    """
    if spec.module or spec.onnx:
        n_outputs, source = own_network.count_outputs(spec, weights), spec.name
    else:
        assert weights is not None  # the study refuses a class map for a trained network
        n_outputs, source = _count_outputs(weights, spec.timm), f"the head in {weights}"
    n_logits = max(2, n_outputs)  # of a single output: 0 for its complement, 1 for itself
    for name, outputs in zip(classes, class_map, strict=True):
        if max(outputs, default=0) >= n_logits:
            raise ModelUnusable(
                problem=f"class_map.{name}: output {max(outputs)} does not exist; {source} has outputs 0 to {n_logits - 1}.",
                reason="A class map assigns existing outputs of the classifier to classes.",
                fix="Correct class_map in the study; the classifier's training code or model card lists its outputs.",
            )
    return replace(spec, classes=n_outputs).with_class_map(class_map)


def adopt_card(
    weights: Path,
    card: Path,
    predictions: pd.DataFrame,
    settings: AdoptSettings,
    probe: Callable[[Classifier], None],
) -> dict[str, Any]:
    """Return the card of another study's model under this study's classes.

    `predictions`: the model's own, for its temperature. `probe`: raises an error if a method has no map for the network.
    """
    load(weights, card)  # raises an error if the two do not belong together
    spec = ClassifierSpec.from_json(read_card(card)["spec"]).with_class_map(settings.class_map)
    probe(build_classifier(spec).without_decoder())
    return {
        **read_card(card),
        "spec": spec.to_json(),
        "classes": list(settings.classes),
        "external": settings.external,
        "temperature": float(predictions["temperature"].iloc[0]),
    }


def _count_outputs(weights: Path, name: str) -> int:
    """Count the outputs of the classifier in a weight file from the rows of its head."""
    heads = timm.get_pretrained_cfg(name).classifier
    first = heads if isinstance(heads, str) else (heads or ("",))[0]
    tensors = weight_file.read_weights(weights)
    if f"{first}.weight" in tensors:
        return int(tensors[f"{first}.weight"].shape[0])
    raise _missing_head_error(weights, name, f"it has no {first}.weight")


def _missing_head_error(weights: Path, name: str, cause: str) -> ModelUnusable:
    return ModelUnusable(
        problem=f"{weights} is not a classifier of the architecture {name}: {cause}.",
        reason="The study has `class_map`, so the head in the weight file gives the number of outputs.",
        fix="Set `weights` to a file of this architecture that includes the head.",
    )


WEIGHTS, CARD = "weights.safetensors", "card.json"
VERSIONED_PACKAGES = ("gradfaith", "torch", "timm", "numpy", "safetensors")


def save(
    folder: Path, classifier: Classifier, card: Mapping[str, Any], *, confirm: Callable[[], object] = lambda: None
) -> Path:
    """Write the classifier and its card into `folder`; return the path of the weights.

    `confirm` is called before each file is renamed, and raises an error if this process must not write any more.
    """
    weights = serialise({name: value.detach().cpu().contiguous() for name, value in classifier.state_dict().items()})
    full_card = {
        **card,
        "format": CARD_FORMAT,
        "spec": classifier.spec.to_json(),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in VERSIONED_PACKAGES},
    }
    with atomic.replacing(folder / WEIGHTS) as draft:
        draft.write_bytes(weights)
        confirm()
    confirm()
    write_card(folder / CARD, full_card)
    return folder / WEIGHTS


def write_card(path: Path, card: Mapping[str, Any]) -> None:
    """Write a card as JSON."""
    json_file.write(path, card, sort_keys=True)


def load(weights: Path, card_path: Path) -> Classifier:
    """Return the classifier of a weight file and its card, in eval mode, on the CPU, without its decoder.

    In the study that trained them, the card is beside the weights; a study that adopted them has its own card.
    """
    card = read_card(card_path)
    content = _read_bytes(weights)
    if hashlib.sha256(content).hexdigest() != card["weights_sha256"]:
        raise ModelUnusable(
            problem=f'"{weights}" is not the file that its card describes: the SHA-256 differs.',
            reason="The weights were truncated or replaced after training.",
            fix="Copy weights.safetensors and card.json together from the original folder, or train this model again.",
        )
    classifier = build_classifier(ClassifierSpec.from_json(card["spec"]), seed=0)
    try:
        classifier.load_state_dict(parse(content))
    except (SafetensorError, RuntimeError) as error:
        raise ModelUnusable(
            problem=f'"{weights}" does not fit the architecture {classifier.spec.name}: {str(error).splitlines()[0]}',
            reason="Every tensor of the architecture must be in the file, in its shape, in safetensors format.",
            fix="Install the timm version that card.json names, or train the model again.",
        ) from error
    return classifier.without_decoder().eval()


def read_card(path: Path) -> dict[str, Any]:
    """Read the card at `path`; refuse a file that is not a card of this format."""
    try:
        card = json_file.read(path)
    except BrokenDocument as error:
        raise _card_error(path, error.problem) from error
    if card.get("format") != CARD_FORMAT or not {"spec", "weights_sha256"} <= set(card):
        raise _card_error(path, f"format {CARD_FORMAT} with spec and weights_sha256 was expected")
    return card


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex, as in cards and in the stamps of stores."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelUnusable(
            problem=f'"{path}" cannot be read: {error.strerror}.',
            reason="A trained model is a folder with weights.safetensors and the model card, card.json.",
            fix="Train the model, or give the path of a weights.safetensors with a card.json in the same folder.",
        ) from error


def _card_error(path: Path, reason: str) -> ModelUnusable:
    return ModelUnusable(
        problem=f'"{path}" is not a model card of GradFaith: {reason}.',
        reason="The model card (card.json) states the architecture, the classes and the training recipe of the weights.",
        fix="Give the folder of a trained model (results/<study>/models/<arch>/seed-<s>/), or train the model again.",
    )
