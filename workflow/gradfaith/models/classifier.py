"""A classifier from its specification: any timm network, behind a stated normalisation.

    logits = net((x - mean) / std)                  x: (n, channels, h, w) in [0, 1]
    logit of a class = logsumexp of the logits of its outputs, where a class map says which these are

Images stay in [0, 1] up to here, so whatever changes pixels (perturbations, baselines, gradients with respect to the
image) speaks of grey values, never of normalised units. A one-channel image is repeated for a network of three.

A class map lets a foreign classifier answer with the dataset's classes. An output that stands for none is left out, so
that probabilities are conditional on the mapped ones: softmax gives P(class | one of the mapped outputs).

Pretrained weights go through timm's own loader: the head is dropped, the first convolution adapted to `in_chans`, and
position embeddings resized. timm then loads what fits and is silent about the rest; here the rest is refused. What was loaded
is told by its value, for timm renames and reshapes: it is loaded twice, the second time with every number of the file
changed, and what is the same both times (weights, biases, running statistics) did not come from there. A fixed table that
the file has too is left to timm.

What a classifier is put into for a moment and comes out of unchanged: frozen, or without weights of zero; and noise to feed it.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradfaith import rng
from gradfaith.errors import ModelUnusable
from gradfaith.models import weight_file
from gradfaith.models.timm_import import timm

SHOWN = 5  # names of weights in a refusal


@dataclass(frozen=True)
class Spec:
    """What must be known to build a classifier again; kept in its card."""

    timm: str
    classes: int  # outputs of the network
    channels: int  # of the images: 1 for CT, 3 for colour
    in_chans: int  # of the network
    size: int
    mean: float | tuple[float, ...]  # in [0, 1]: one number, or one per channel
    std: float | tuple[float, ...]
    options: Mapping[str, Any] = field(default_factory=dict)  # handed to timm: drop_rate, output_stride, ...
    class_map: tuple[tuple[int, ...], ...] = ()  # outputs of each class that is answered; empty: one each, in order

    @property
    def targets(self) -> int:
        """How many classes are answered, and can be explained."""
        return len(self.class_map) or self.classes

    def mapped(self, class_map: Sequence[Sequence[int]]) -> "Spec":
        """The same network answering with other classes, each made of some that it answers with now."""
        plain = tuple((output,) for output in range(self.classes))
        made = tuple(tuple(output for own in named for output in (self.class_map or plain)[own]) for named in class_map)
        return replace(self, class_map=() if made == plain else made)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"options": dict(self.options)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Spec":
        def numbers(value: float | list[float]) -> float | tuple[float, ...]:
            return tuple(value) if isinstance(value, list | tuple) else value

        class_map = tuple(tuple(outputs) for outputs in data.get("class_map", ()))
        return cls(**{**data, "mean": numbers(data["mean"]), "std": numbers(data["std"]), "class_map": class_map})


class Classifier(nn.Module):
    """A timm network that takes images in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, spec: Spec) -> None:
        super().__init__()
        self.net, self.spec = net, spec
        self.register_buffer("mean", torch.tensor(spec.mean).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).reshape(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:  # (n, channels, h, w) -> (n, targets)
        x = (images - self.mean) / self.std
        if x.shape[1] == 1 < self.spec.in_chans:
            x = x.expand(-1, self.spec.in_chans, -1, -1)
        return merged(self.net(x), self.spec.class_map)

    def unmapped(self) -> "Classifier":
        """The same network answering with its own outputs, (n, classes)."""
        plain = Classifier(self.net, replace(self.spec, class_map=()))
        return plain.to(self.mean.device)


def merged(logits: Tensor, class_map: Sequence[Sequence[int]]) -> Tensor:  # (n, outputs) -> (n, targets)
    """One logit per class; no class map leaves them as they are."""
    if not class_map:
        return logits
    return torch.stack([logits[:, list(outputs)].logsumexp(dim=1) for outputs in class_map], dim=1)


def build(spec: Spec, *, seed: int = 0, weights: Path | None = None) -> Classifier:
    """Random weights of this seed, or pretrained ones under a head of this seed; the global generator is untouched."""
    _check(spec)
    if weights is None:
        return Classifier(_create(spec, seed), spec)
    state = weight_file.read(weights)
    net = _create(spec, seed, weights, state)
    _check_loaded(net, _create(spec, seed, weights, _altered(state)), weights, state)
    return Classifier(net, spec)


def _altered(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every number another one, whatever it was."""
    return {name: value + value.abs() + 1 if value.is_floating_point() else value for name, value in state.items()}


def _overlay(spec: Spec, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What timm must know of the weights: -1 class is never the number asked for, so their head is always dropped."""
    overlay: dict[str, Any] = {"state_dict": dict(state), "num_classes": -1, "custom_load": False, "label_offset": 0}
    first = timm.get_pretrained_cfg(spec.timm).first_conv
    if isinstance(first, str) and f"{first}.weight" in state:
        overlay["input_size"] = (state[f"{first}.weight"].shape[1], spec.size, spec.size)
    return overlay


def _create(spec: Spec, seed: int, weights: Path | None = None, state: Mapping[str, Tensor] | None = None) -> nn.Module:
    options = dict(spec.options)
    if timm.get_pretrained_cfg(spec.timm).fixed_input_size:
        options.setdefault("img_size", spec.size)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            if state is not None:
                options |= {"pretrained": True, "pretrained_cfg_overlay": _overlay(spec, state)}
            net: nn.Module = timm.create_model(spec.timm, num_classes=spec.classes, in_chans=spec.in_chans, **options)
            net.pretrained_cfg.pop("state_dict", None)  # type: ignore[operator, union-attr]  # timm would keep all of it
        except Exception as error:  # timm and safetensors raise whatever their constructors and loaders raise
            raise _refused(spec, weights, error) from error
    return net


def _refused(spec: Spec, weights: Path | None, error: Exception) -> ModelUnusable:
    source = f" with the weights {weights}" if weights else ""
    given = {"size": spec.size, "in_chans": spec.in_chans, **spec.options}
    return ModelUnusable(
        found=f'timm cannot build "{spec.timm}"{source} from {given}: {type(error).__name__}: {error}',
        why="Size and options must be ones this architecture takes"
        + (", and the weights its own." if weights else "."),
        then="Correct `size` or the architecture's `options` in the study"
        + (", or the weights file." if weights else "."),
    )


def _check(spec: Spec) -> None:
    if not timm.is_model(spec.timm):
        close = difflib.get_close_matches(spec.timm, timm.list_models(), n=4, cutoff=0.5)
        raise ModelUnusable(
            found=f'timm {timm.__version__} has no architecture named "{spec.timm}".',
            why="An architecture is named as timm names it." + (f" Close to it: {', '.join(close)}." if close else ""),
            then="Choose a name from timm.list_models() and write it in the study.",
        )
    if spec.channels not in (1, spec.in_chans):
        raise ModelUnusable(
            found=f'"{spec.timm}" takes {spec.in_chans} channel(s), the images have {spec.channels}.',
            why="Only a single channel can be repeated without inventing or losing colour.",
            then=f"Set in_chans to {spec.channels}.",
        )


def _check_loaded(loaded: nn.Module, altered: nn.Module, weights: Path, state: Mapping[str, Tensor]) -> None:
    """What does not change with the file, outside the head, was not in it."""
    heads = loaded.pretrained_cfg["classifier"]  # type: ignore[index]
    heads = (heads,) if isinstance(heads, str) else tuple(heads or ())
    learnt, other = dict(loaded.named_parameters()), altered.state_dict()
    left = [
        name
        for name, value in loaded.state_dict().items()
        if value.is_floating_point()  # a counter of batches decides nothing
        and not name.startswith(tuple(f"{head}." for head in heads))
        and (name in learnt or name not in state)
        and torch.equal(value, other[name])
    ]
    if left:
        more = sorted(set(state) - set(loaded.state_dict()))
        unknown = f", and has others: {_some(more)}" if more else ""
        raise ModelUnusable(
            found=f"{weights} lacks weights of the network: {_some(left)}{unknown}.",
            why="They would stay as they are drawn or set at first, and the network would only look pretrained.",
            then="Give the weights file of this very architecture.",
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


PROBE_IMAGES = 4


def noise(classifier: Classifier) -> Tensor:  # (n, channels, h, w)
    spec, generator = classifier.spec, torch.Generator().manual_seed(rng.seed("probe"))
    return torch.rand(PROBE_IMAGES, spec.channels, spec.size, spec.size, generator=generator).to(classifier.mean.device)


@contextmanager
def frozen(classifier: Classifier) -> Iterator[None]:
    """Every module evaluates, no parameter asks for a gradient; on leaving, all is as it was."""
    training = {module for module in classifier.modules() if module.training}
    trainable = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    try:
        if training:
            classifier.eval()
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        if training:
            classifier.train()  # networks that keep something while evaluating drop it here
            for module in classifier.modules():
                module.training = module in training


@contextmanager
def zeros_as_noise(classifier: Classifier, *key: object) -> Iterator[None]:
    """Parameters that are exactly zero are small noise, drawn for a key; on leaving they are zero again."""
    zeros = [parameter for parameter in classifier.parameters() if not parameter.any()]
    generator = torch.Generator(device=classifier.mean.device).manual_seed(rng.seed("probe", "zeros", *key))
    with torch.no_grad():
        for parameter in zeros:
            parameter.normal_(std=0.02, generator=generator)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter in zeros:
                parameter.zero_()
