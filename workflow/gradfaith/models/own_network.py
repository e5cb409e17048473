"""Build a network from a user's callable, and describe it in the terms in which timm describes its networks.

    feature_info                   one module per resolution, shallow to deep; the last one is the default layer
    pretrained_cfg["classifier"]   the module that computes the outputs

Everything else in GradFaith reads only these two. They are found by one forward and one backward of a noise image: a
module is a candidate if it contains parameters, returns one grid or one row of tokens per image, and every position of its
output has a gradient. (The last block of a transformer with a class token has none at its patches.) The last candidate to
finish is the default layer: a stage, not its last convolution. Whether its cells are at their places is checked later, as
for every layer (attribution/probe.py).

A network with a true attribute `black_box` gives answers only: it has no layers and no gradients, and one forward counts its
outputs. That of an ONNX file is one (models/onnx_network.py).
"""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from gradfaith import rng
from gradfaith.errors import ModelUnusable, name_some
from gradfaith.models.heads import check_outputs
from gradfaith.models.layers import freeze_temporarily, is_black_box, replace_zero_weights
from gradfaith.models.onnx_network import OnnxNetwork
from gradfaith.runtime import own_code
from gradfaith.vocabulary import Head

MIN_GRID = 2  # cells across


@dataclass(frozen=True)
class InputShape:
    """The images of a network."""

    channels: int
    size: int


class _Stage(NamedTuple):
    """A module that returns a grid; `place`: when it finishes."""

    name: str
    grid: tuple[int, ...]
    channels: int
    place: int


class OwnSpec(Protocol):
    """The part of a classifier's spec that a network of the user's own needs."""

    @property
    def name(self) -> str: ...
    @property
    def module(self) -> str: ...
    @property
    def onnx(self) -> str: ...
    @property
    def options(self) -> Mapping[str, Any]: ...
    @property
    def classes(self) -> int: ...
    @property
    def in_chans(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def head(self) -> Head: ...


def create(spec: OwnSpec, seed: int, weights: Path | None) -> nn.Module:
    """Call the user's callable, or read the ONNX file `weights`."""
    if spec.module:
        return create_network(spec.module, spec.options, seed)
    assert weights is not None
    return OnnxNetwork.read(weights, str(spec.options.get("output", "")))


def describe(net: nn.Module, spec: OwnSpec) -> int:
    """Describe a network, and return the number of its outputs, which must be that of the spec, or one for two classes."""
    outputs = describe_network(net, spec.name, InputShape(spec.in_chans, spec.size), spec.head)
    if outputs != spec.classes and (outputs, spec.classes) != (1, 2):
        raise ModelUnusable(
            problem=f"{spec.name} has {outputs} output(s), but {spec.classes} are needed.",
            reason="A network needs one output per class of the dataset (one for two classes), or a `class_map`.",
            fix="Add a `class_map` to the study, or export a network with this number of outputs."
            if spec.onnx
            else "Set the number of outputs in the architecture's `options`, by the name that the callable gives it.",
        )
    return outputs


def count_outputs(spec: OwnSpec, weights: Path | None) -> int:
    """Return the number of outputs of a network that is not timm's."""
    return describe_network(create(spec, 0, weights), spec.name, InputShape(spec.in_chans, spec.size), spec.head)


def create_network(code: str, options: Mapping[str, Any], seed: int) -> nn.Module:
    """Call the user's callable; `seed` decides its random weights."""
    build = own_code.load(code)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            net = build(**options)
        except Exception as error:  # a user's callable can raise anything
            raise _build_error(code, options, f"raises {type(error).__name__}: {error}") from error
    if not isinstance(net, nn.Module):
        raise _build_error(code, options, f"returns a {type(net).__name__}, not a torch.nn.Module")
    return net


def describe_network(net: nn.Module, code: str, shape: InputShape, head: Head = "softmax") -> int:
    """Add timm's description to a network that has none, and return the number of its outputs."""
    described: Any = net
    if is_black_box(net):
        with freeze_temporarily(net), torch.no_grad():
            outputs = _logits(net, code, shape, _noise(shape))
        check_outputs(outputs, head, code)
        return outputs.shape[1]
    with freeze_temporarily(net), replace_zero_weights(net):
        passes = _Passes.run(net, code, shape)
    check_outputs(passes.logits, head, code)
    if not hasattr(net, "feature_info"):
        described.feature_info = _feature_info(passes, shape.size)
    if not hasattr(net, "pretrained_cfg"):
        described.pretrained_cfg = {"classifier": passes.head}
    return passes.logits.shape[1]


def _noise(shape: InputShape) -> Tensor:  # (1, channels, size, size)
    generator = torch.Generator().manual_seed(rng.seed("probe"))
    return torch.rand(1, shape.channels, shape.size, shape.size, generator=generator)


@dataclass(frozen=True)
class _Passes:
    """What one forward and one backward of a noise image show."""

    logits: Tensor  # (1, outputs)
    gradients: Mapping[
        str, tuple[Tensor, Tensor | None]
    ]  # module -> its output and the gradient, in the order of finishing
    head: str  # the last module without children that has parameters

    @classmethod
    def run(cls, net: nn.Module, code: str, shape: InputShape) -> "_Passes":
        outputs: dict[str, Tensor] = {}
        finished: list[str] = []
        image = _noise(shape).requires_grad_()
        with ExitStack() as hooks, torch.enable_grad():
            for name, module in net.named_modules():
                if name and next(module.parameters(), None) is not None:
                    hooks.callback(module.register_forward_hook(partial(_keep, outputs, finished, name)).remove)
            logits = _logits(net, code, shape, image)
            found = torch.autograd.grad(logits[0, 0], list(outputs.values()), allow_unused=True) if outputs else ()
        leaves = [name for name in finished if not any(net.get_submodule(name).children())]
        pairs: Mapping[str, tuple[Tensor, Tensor | None]] = {
            name: (output.detach(), gradient)
            for (name, output), gradient in zip(outputs.items(), found, strict=True)
            if finished.count(name) == 1  # a module that runs twice has several outputs
        }
        return cls(logits.detach(), pairs, leaves[-1] if leaves else "")


def _keep(
    outputs: dict[str, Tensor], finished: list[str], name: str, _module: nn.Module, _inputs: object, output: object
) -> Tensor | None:
    finished.append(name)
    if not (isinstance(output, Tensor) and output.ndim in (3, 4) and len(output) == 1 and output.requires_grad):
        return None
    outputs[name] = output
    return output.clone()  # a later module may change its input in place


def _logits(net: nn.Module, code: str, shape: InputShape, image: Tensor) -> Tensor:
    try:
        logits: Any = net(image)
    except Exception as error:  # a user's network can raise anything
        cause = f"{type(error).__name__}: {error}"
        raise ModelUnusable(
            problem=f"{code} cannot take an image of {shape.channels} x {shape.size} x {shape.size}: {cause}",
            reason="GradFaith calls the network with normalised images (n, channels, height, width).",
            fix="Correct `image.size`, or the architecture's `in_chans` or `options`, in the study.",
        ) from error
    differentiable = is_black_box(net) or (isinstance(logits, Tensor) and logits.requires_grad)
    if not (isinstance(logits, Tensor) and logits.ndim == 2 and len(logits) == 1 and differentiable):
        what = f"a tensor of {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ModelUnusable(
            problem=f"{code} returns {what} for one image.",
            reason="GradFaith explains classifiers: one row of logits per image, (n, outputs), differentiable by the image.",
            fix="Name a network that returns only its logits, for example through a wrapper module. One that is not "
            "differentiable can have the attribute `black_box = True`.",
        )
    return logits


def _feature_info(passes: _Passes, size: int) -> list[dict[str, Any]]:
    """Return timm's entries: the last usable module, and before it the outermost usable module of every other resolution."""
    usable = [
        _Stage(name, grid, channels, place)
        for place, (name, (output, gradient)) in enumerate(passes.gradients.items())
        for grid, channels in [_grid(output)]
        if min(grid) >= MIN_GRID and gradient is not None and _reaches(gradient, grid)
    ]
    stages = {stage.grid: stage for stage in usable[-1:]}
    for stage in sorted(usable, key=lambda stage: (stage.name.count("."), -stage.place)):
        stages.setdefault(stage.grid, stage)
    return [
        {"module": stage.name, "num_chs": stage.channels, "reduction": max(1, round(size / stage.grid[0]))}
        for stage in sorted(stages.values(), key=lambda stage: stage.place)
    ]


def _grid(output: Tensor) -> tuple[tuple[int, ...], int]:
    """Return the grid and the channels of one image's output: (c, h, w), (h, w, c) or tokens."""
    _, *sides = output.shape
    if len(sides) == 2:  # tokens; those beyond a square are prefix tokens
        return (math.isqrt(sides[0]),) * 2, sides[1]
    first, middle, last = sides
    return ((first, middle), last) if first == middle != last else ((middle, last), first)


def _reaches(gradient: Tensor, grid: tuple[int, ...]) -> bool:
    """Return whether the gradient is zero nowhere, except at prefix tokens."""
    if gradient.ndim == 3:
        missed = int((gradient.abs().amax(dim=2) == 0).sum())
        return missed <= gradient.shape[1] - math.prod(grid)
    axis = 1 if tuple(gradient.shape[2:]) == grid else 3
    return bool((gradient.abs().amax(dim=axis) > 0).all())


def load_weights(net: nn.Module, code: str, state: dict[str, Tensor], file: object) -> None:
    """Load the weights of a file; only the head may be missing or have another shape, and stays random then."""
    own, head = net.state_dict(), str(net.pretrained_cfg["classifier"])  # type: ignore[index]
    fitting = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    lacking = [name for name in own if name not in fitting and not name.startswith(f"{head}.")]
    if lacking:
        surplus = sorted(set(state) - set(own))
        raise ModelUnusable(
            problem=f"{file} lacks weights of {code}, or has them in another shape: {name_some(lacking)}"
            + (f"; it has others: {name_some(surplus)}." if surplus else "."),
            reason="These weights would stay random, and the network would only seem pretrained.",
            fix="Set the architecture's `weights` in the study to a file of exactly this network.",
        )
    net.load_state_dict(fitting, strict=False)


def _build_error(code: str, options: Mapping[str, Any], what: str) -> ModelUnusable:
    given = ", ".join(f"{key}={value!r}" for key, value in options.items())
    return ModelUnusable(
        problem=f"{code}({given}) {what}.",
        reason="An architecture's `module` is called with the study's `options` and must return the network.",
        fix="Correct `module` or `options` of this architecture in the study.",
    )
