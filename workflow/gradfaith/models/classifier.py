"""Build a classifier from its specification: a network of timm, a user's own, or an ONNX file, and a normalisation in front of it.

    outputs = net((x - mean) / std)                 x: (n, channels, h, w) in [0, 1]
    logits of the classes from the outputs: models/heads.py

Images are in [0, 1] up to here. So everything that changes pixels (perturbations, baselines, gradients with respect to
the image) works on grey values, not on normalised units. A one-channel image is repeated for a three-channel network.

timm's own loader reads pretrained weights: it drops the head, adapts the first convolution to `in_chans` and resizes
position embeddings. It ignores weights that do not fit without a message; here they are an error. timm renames and
reshapes tensors, so the values decide what was loaded: the file is loaded twice, the second time with every number
changed, and whatever is equal both times (weights, biases, running statistics) did not come from the file. A fixed
table that is also in the file is left to timm.

`probe_images` makes noise images for testing a network.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradfaith import rng
from gradfaith.config.architecture import DecoderSettings
from gradfaith.errors import ModelUnusable, name_some
from gradfaith.models import heads, multitask, own_network, weight_file
from gradfaith.models.layers import head_names
from gradfaith.models.onnx_network import OnnxNetwork
from gradfaith.models.timm_import import timm
from gradfaith.vocabulary import Head


@dataclass(frozen=True)
class ClassifierSpec:
    """Everything that is needed to build a classifier again; its card uses the same field names."""

    timm: str
    classes: int  # outputs of the network
    channels: int  # of the images: 1 for CT, 3 for colour
    in_chans: int  # of the network
    size: int
    mean: float | tuple[float, ...]  # in [0, 1]: one number, or one per channel
    std: float | tuple[float, ...]
    options: Mapping[str, Any] = field(default_factory=dict)  # passed to timm: drop_rate, output_stride, ...
    class_map: tuple[tuple[int, ...], ...] = ()  # outputs of each predicted class; empty: one output each, in order
    module: str = ""  # package.module:callable of a user's own network; empty: `timm` names it
    onnx: str = ""  # the ONNX file that the network was read from
    head: Head = "softmax"
    decoder: DecoderSettings | None = None  # trained beside the classifier

    @property
    def name(self) -> str:
        """The network as messages name it."""
        return self.module or self.onnx or self.timm

    @property
    def n_logits(self) -> int:
        """The number of logits: a single output gives those of two classes."""
        return max(2, self.classes)

    @property
    def n_targets(self) -> int:
        """The number of predicted classes, which are those that can be explained."""
        return len(self.class_map) or self.n_logits

    @property
    def exclusive(self) -> bool:
        """Whether the outputs exclude each other."""
        return self.head != "sigmoid" or self.classes == 1

    def with_class_map(self, class_map: Sequence[Sequence[int]]) -> "ClassifierSpec":
        """Return the spec of the same network with new classes, each a list of the present classes."""
        identity = tuple((output,) for output in range(self.n_logits))
        outputs_of = self.class_map or identity
        if any(len(members) > 1 and not all(outputs_of[old] for old in members) for members in class_map):
            raise ModelUnusable(
                problem=f"the class map merges a class of {self.name} that stands for no finding with other classes.",
                reason="No outputs belong to that class, so it cannot be added to others.",
                fix="Correct class_map in the study: give this class a class of its own, or leave it out.",
            )
        new_map = tuple(tuple(output for old in members for output in outputs_of[old]) for members in class_map)
        return replace(self, class_map=() if new_map == identity else new_map)

    def to_json(self) -> dict[str, Any]:
        """Return the plain values for a card, without what came later where it changes nothing: older cards stay equal."""
        values = asdict(self) | {"options": dict(self.options), "decoder": self.decoder and self.decoder.model_dump()}
        later = {"module": "", "onnx": "", "head": "softmax", "decoder": None}
        return {key: value for key, value in values.items() if key not in later or value != later[key]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ClassifierSpec":
        """Build the spec from the output of `to_json`."""

        def numbers(value: float | list[float]) -> float | tuple[float, ...]:
            return tuple(value) if isinstance(value, list | tuple) else value

        class_map = tuple(tuple(outputs) for outputs in data.get("class_map", ()))
        decoder = DecoderSettings(**data["decoder"]) if data.get("decoder") else None
        own = {"mean": numbers(data["mean"]), "std": numbers(data["std"]), "class_map": class_map, "decoder": decoder}
        return cls(**{**data, **own})


@dataclass(frozen=True)
class PassesUsed:
    """The settings of a network's passes, part of the stamp of its maps; models/speed.py changes them."""

    precision: str = "float32"
    channels_last: bool = False
    fold_batch_norm: bool = False
    left_out: str = ""  # why passes are plain although the table lists the network

    def __str__(self) -> str:
        changes = {"channels_last": self.channels_last, "folded batch norms": self.fold_batch_norm}
        used = ", ".join([self.precision, *(name for name, used in changes.items() if used)])
        return f"{used} ({self.left_out})" if self.left_out else used


class Classifier(nn.Module):
    """A network with its normalisation: images (n, channels, h, w) in [0, 1] to logits (n, targets)."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, spec: ClassifierSpec, decoder: nn.Module | None = None) -> None:
        super().__init__()
        self.net, self.spec, self.passes = net, spec, PassesUsed()
        self.decoder = decoder  # models/multitask.py
        self.register_buffer("mean", torch.tensor(spec.mean).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).reshape(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:  # (n, channels, h, w) -> (n, targets)
        return self._read(self.net(self._normalise(images)))

    def forward_both(self, images: Tensor) -> tuple[Tensor, Tensor]:  # (n, targets), (n, c, h, w)
        """Return the logits, and the output of the decoder for the same features."""
        assert self.decoder is not None
        net: Any = self.net
        features = net.forward_features(self._normalise(images))
        return self._read(net.forward_head(features)), self.decoder(features)

    def _read(self, outputs: Tensor) -> Tensor:  # (n, outputs) -> (n, targets)
        logits = heads.read_logits(outputs, self.spec.head)
        return heads.merge_outputs(logits, self.spec.class_map, exclusive=self.spec.exclusive)

    def _normalise(self, images: Tensor) -> Tensor:
        x = (images - self.mean) / self.std
        return x.expand(-1, self.spec.in_chans, -1, -1) if x.shape[1] == 1 < self.spec.in_chans else x

    def without_decoder(self) -> "Classifier":
        """Return the classifier alone; both share their weights. The same object if there is no decoder."""
        if self.decoder is None:
            return self
        alone = Classifier(self.net, replace(self.spec, decoder=None)).to(self.mean.device)
        return alone.train(self.training)

    def without_class_map(self) -> "Classifier":
        """Return the same network with the logits of its own outputs (n, logits); both share their weights."""
        unmapped = Classifier(self.net, replace(self.spec, class_map=()))
        return unmapped.to(self.mean.device)


def build_classifier(spec: ClassifierSpec, *, seed: int = 0, weights: Path | None = None) -> Classifier:
    """Build the classifier with random weights, or with the weights of a file and a random head.

    `seed` decides the random weights; torch's global generator is not used.
    """
    _check_channels(spec)
    if spec.module or spec.onnx:
        return _build_own_classifier(spec, seed, weights)
    _check_timm_name(spec)
    if weights is None:
        return _with_decoder(_create_network(spec, seed), spec, seed)
    state = weight_file.read_weights(weights)
    net = _create_network(spec, seed, weights, state)
    _check_every_weight_loaded(net, _create_network(spec, seed, weights, _alter_every_number(state)), weights, state)
    return _with_decoder(net, spec, seed)


def _with_decoder(net: nn.Module, spec: ClassifierSpec, seed: int) -> Classifier:
    """Return the classifier of a network, with a decoder of random weights if the spec has one."""
    if spec.decoder is None:
        return Classifier(net, spec)
    images = {"size": spec.size, "channels": spec.in_chans}
    return Classifier(net, spec, multitask.build_decoder(net, spec.decoder, name=spec.name, seed=seed, **images))


def _build_own_classifier(spec: ClassifierSpec, seed: int, weights: Path | None) -> Classifier:
    """Build a user's own network, or that of an ONNX file; without `weights` the latter is empty, to be loaded from a model."""
    if spec.onnx and weights is None:
        return Classifier(OnnxNetwork(str(spec.options.get("output", ""))), spec)
    net = own_network.create(spec, seed, weights)
    if not any(parameter.is_meta for parameter in net.parameters()):  # built only to count its weights
        spec = replace(spec, classes=own_network.describe(net, spec))
    if weights is not None and spec.module:
        own_network.load_weights(net, spec.module, weight_file.read_weights(weights), weights)
    return _with_decoder(net, spec, seed)


def _alter_every_number(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors in which every number is changed."""
    return {name: value + value.abs() + 1 if value.is_floating_point() else value for name, value in state.items()}


def _pretrained_overlay(spec: ClassifierSpec, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return timm's description of the weights. With -1 classes, timm always drops their head."""
    overlay: dict[str, Any] = {"state_dict": dict(state), "num_classes": -1, "custom_load": False, "label_offset": 0}
    first = timm.get_pretrained_cfg(spec.timm).first_conv
    if isinstance(first, str) and f"{first}.weight" in state:
        overlay["input_size"] = (state[f"{first}.weight"].shape[1], spec.size, spec.size)
    return overlay


def _create_network(
    spec: ClassifierSpec, seed: int, weights: Path | None = None, state: Mapping[str, Tensor] | None = None
) -> nn.Module:
    options = dict(spec.options)
    if timm.get_pretrained_cfg(spec.timm).fixed_input_size:
        options.setdefault("img_size", spec.size)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            if state is not None:
                options |= {"pretrained": True, "pretrained_cfg_overlay": _pretrained_overlay(spec, state)}
            net: nn.Module = timm.create_model(spec.timm, num_classes=spec.classes, in_chans=spec.in_chans, **options)
            net.pretrained_cfg.pop("state_dict", None)  # type: ignore[operator, union-attr]  # timm would keep all of it
        except Exception as error:  # constructors and loaders of timm and safetensors raise many kinds
            raise _build_error(spec, weights, error) from error
    return net


def _build_error(spec: ClassifierSpec, weights: Path | None, error: Exception) -> ModelUnusable:
    source = f" with the weights {weights}" if weights else ""
    given = {"size": spec.size, "in_chans": spec.in_chans, **spec.options}
    return ModelUnusable(
        problem=f'timm cannot build "{spec.timm}"{source} from {given}: {type(error).__name__}: {error}',
        reason="This architecture must support the size and the options"
        + (", and the weights must belong to it." if weights else "."),
        fix="Correct `image.size` or the architecture's `options` in the study"
        + (", or its `weights` file." if weights else "."),
    )


def _check_timm_name(spec: ClassifierSpec) -> None:
    if not timm.is_model(spec.timm):
        close = difflib.get_close_matches(spec.timm, timm.list_models(), n=4, cutoff=0.5)
        raise ModelUnusable(
            problem=f'timm {timm.__version__} has no architecture named "{spec.timm}".',
            reason="The names of architectures are those of timm."
            + (f" Similar names: {', '.join(close)}." if close else ""),
            fix="Use a name from timm.list_models() in the study, or `module:` for a network of your own.",
        )


def _check_channels(spec: ClassifierSpec) -> None:
    if spec.channels not in (1, spec.in_chans):
        raise ModelUnusable(
            problem=f'"{spec.name}" has in_chans {spec.in_chans}, but the images have {spec.channels} channel(s).',
            reason="Only one-channel images can be converted, by repeating the channel.",
            fix=f"Set the architecture's `in_chans` to {spec.channels}.",
        )


def _check_every_weight_loaded(
    loaded: nn.Module, altered: nn.Module, weights: Path, state: Mapping[str, Tensor]
) -> None:
    """Refuse tensors outside the head that do not change with the file, because they are not in it."""
    heads = head_names(loaded)
    parameters, altered_tensors = dict(loaded.named_parameters()), altered.state_dict()
    missing = [
        name
        for name, value in loaded.state_dict().items()
        if value.is_floating_point()  # a counter of batches is ignored
        and not name.startswith(tuple(f"{head}." for head in heads))
        and (name in parameters or name not in state)
        and torch.equal(value, altered_tensors[name])
    ]
    if missing:
        surplus = sorted(set(state) - set(loaded.state_dict()))
        unknown = f", and has others: {name_some(surplus)}" if surplus else ""
        raise ModelUnusable(
            problem=f"{weights} lacks weights of the network: {name_some(missing)}{unknown}.",
            reason="These weights would stay random, and the network would only seem pretrained.",
            fix="Set the architecture's `weights` in the study to a file of exactly this timm architecture.",
        )


PROBE_IMAGES = 4


def probe_images(classifier: Classifier) -> Tensor:  # (n, channels, h, w)
    """Return PROBE_IMAGES images of uniform noise in [0, 1], the same at every call."""
    spec, generator = classifier.spec, torch.Generator().manual_seed(rng.seed("probe"))
    return torch.rand(PROBE_IMAGES, spec.channels, spec.size, spec.size, generator=generator).to(classifier.mean.device)
