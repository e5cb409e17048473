"""Find the layer from which a network's maps are read, by timm's own names, and change a network temporarily.

The default is the last layer that has a grid and whose every position reaches the score. For a network with a class token
that is not the last block's output (its patch tokens have a gradient of exactly zero) but the block's first norm. A path
may count from the end: `blocks.-1.norm1`. A study overrides the default with `layer:`.
`DEFAULT_LAYERS` has one line per family of timm.

`freeze_temporarily`, `replace_zero_weights` and `skip_unread_tokens` change a network while a block runs, and restore it.
"""

import difflib
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

from gradfaith import rng
from gradfaith.errors import LayerUnusable

# A family is one of timm's model files; a network belongs to the file that defines its class, or one of its base classes.
DEFAULT_LAYERS: Mapping[str, str | tuple[str, ...]] = {  # of several layers, the first that the network has
    "beit": "blocks.-1.norm1",
    "cait": "blocks.-1",
    "coat": ("parallel_blocks.-1.norm14", "serial_blocks4.-1.norm1"),  # not every variant has parallel blocks
    "convit": "blocks.-1.norm1",
    "convnext": "stages.-1",
    "densenet": "features.norm5",
    "edgenext": "stages.-1",
    "efficientnet": "bn2",
    "eva": "blocks.-1.norm1",
    "hrnet": "final_layer",
    "levit": "stages.-1",
    "maxxvit": "stages.-1",
    "mobilenetv3": "blocks.-1",
    "mvitv2": "norm",
    "naflexvit": "blocks.-1.norm1",
    "pit": "transformers.-1.blocks.-1.norm1",
    "regnet": "s4",
    "resnet": "layer4",
    "resnetv2": "norm",
    "swin_transformer": "layers.-1.blocks.-1.norm1",
    "swin_transformer_v2": "layers.-1",
    "tnt": "blocks.-1.norm_out",
    "twins": "norm",
    "vgg": "features",
    "vision_transformer": "blocks.-1.norm1",
    "vision_transformer_relpos": "blocks.-1.norm1",
    "xcit": "blocks.-1",
}

# The stages before the default layer, shallow to deep, if timm's `feature_info` names no module that returns one map.
EARLIER_STAGES = {
    "coat": ("serial_blocks1.-1", "serial_blocks2.-1", "serial_blocks3.-1"),
    "hrnet": ("incre_modules.0", "incre_modules.1", "incre_modules.2"),
    "mvitv2": ("stages.0.blocks.-1.norm2", "stages.1.blocks.-1.norm2", "stages.2.blocks.-1.norm2"),
    "pit": ("transformers.0.blocks.-1", "transformers.1.blocks.-1"),
    "twins": ("blocks.0.-1", "blocks.1.-1", "blocks.2.-1"),
}
BLOCKS_BEFORE = 3  # number of blocks before the default layer's own, for a network whose blocks all have one resolution

AUTO = "auto"  # the table above decides
EARLY, MIDDLE = "early", "middle"  # the first of a network's stages, or blocks, and the one at half of them
BLACK_BOX_GRID = (7, 7)  # of its controls: the grid of most convolutional networks at 224 px
RESIDUAL = "residual"  # the deepest output of a transformer's blocks that reaches the score from every patch


def default_layer(net: nn.Module) -> str:
    """Return the default layer, as a path without negative indices; a user's own network has it in `feature_info`."""
    family = _family_in(net, DEFAULT_LAYERS)
    if not family:
        return _last_feature_layer(net)
    *rather, last = [paths] if isinstance(paths := DEFAULT_LAYERS[family], str) else paths
    for path in rather:
        with suppress(LayerUnusable):
            return resolve_layer(net, path)
    return resolve_layer(net, last)


def is_black_box(net: nn.Module) -> bool:
    """Return whether a network gives answers only: it has no layers, and its outputs have no gradient."""
    return bool(getattr(net, "black_box", False))


def head_names(net: nn.Module) -> tuple[str, ...]:
    """Return the names of the modules that compute the outputs, as timm or models/own_network.py states them."""
    heads: Any = net.pretrained_cfg["classifier"]  # type: ignore[index]
    return (heads,) if isinstance(heads, str) else tuple(heads or ())


def _family_in(net: nn.Module, table: Container[str]) -> str:
    """Return the first family of timm among the network's class and its base classes that is in the table; "" if none is."""
    files = (cls.__module__.rpartition(".")[2] for cls in type(net).__mro__ if cls.__module__.startswith("timm."))
    return next((name for name in files if name in table), "")


def resolve_layer(net: nn.Module, path: str) -> str:
    """Return the path of an existing layer: `blocks.-1.norm1` -> `blocks.11.norm1`, `auto` -> the default layer, "" of a black box.

    `early` and `middle` are the first stage and the stage at half of the network's stages; of a network whose blocks all have
    one resolution, such as a vision transformer, the first block and the block at half of them.

    Raises:
        LayerUnusable: the layer does not exist; the error lists similar names.
    """
    if is_black_box(net):
        if path in (AUTO, RESIDUAL, ""):
            return ""
        raise LayerUnusable(
            problem=f'{type(net).__name__} has no layer "{path}": it is a black box.',
            reason="Such a network gives answers only; its layers cannot be read.",
            fix="Remove `layer:` of this architecture from the study, and use methods that need answers only.",
        )
    if path == AUTO or (
        path == RESIDUAL and not hasattr(net, "blocks")
    ):  # a method that needs blocks is refused by its requirement
        return default_layer(net)
    if path in (EARLY, MIDDLE):
        return _layer_at_depth(net, path)
    if path == RESIDUAL:  # a class token reads the patches inside the last block, so that block's output is unused
        path = "blocks.-2" if getattr(net, "global_pool", None) == "token" else "blocks.-1"
    module, resolved = net, list[str]()
    for part in path.split("."):
        children = dict(module.named_children())
        name = part
        if part.startswith("-") and part[1:].isdigit() and int(part[1:]) <= len(children):
            name = list(children)[int(part)]
        if name not in children:
            raise _unknown_layer_error(net, path, ".".join(resolved))
        module = children[name]
        resolved.append(name)
    return ".".join(resolved)


def _layer_at_depth(net: nn.Module, word: str) -> str:
    """Return the layer that `early` or `middle` means."""
    deepest = default_layer(net)
    before = [stage for stage in _earlier_stages(net, deepest, most=len(list(net.modules()))) if stage != deepest]
    if not before:
        raise LayerUnusable(
            problem=f'{type(net).__name__} has no stage before layer "{deepest}", so no layer is "{word}".',
            reason="`early` and `middle` are stages of the network.",
            fix="Set `layer:` to the path of a module, or list the architectures with several stages under `only:`.",
        )
    return before[0 if word == EARLY else (len(before) + 1) // 2]


def layer_stack(net: nn.Module, path: str = AUTO) -> tuple[str, ...]:
    """Return a layer and all deeper stages of the network, shallow to deep; `auto`: all stages.

    The stages are the modules that timm takes features from, at a quarter of the image's resolution or below, with the
    default layer as the deepest. For a network whose blocks all have one resolution, they are the last four blocks.

    Raises:
        LayerUnusable: the layer is not a stage, or no stage is deeper.
    """
    deepest = default_layer(net)
    stages = (*(stage for stage in _earlier_stages(net, deepest) if stage != deepest), deepest)
    start = stages[0] if path == AUTO else resolve_layer(net, path)
    if start not in stages:
        raise LayerUnusable(
            problem=f'layer "{start}" is not a stage of {type(net).__name__}.',
            reason="The method combines the maps of a stage and of all deeper stages.",
            fix=f"Set `layer:` to one of {', '.join(stages[:-1])}, or to `auto` for all of them.",
        )
    if start == deepest:
        raise LayerUnusable(
            problem=f'{type(net).__name__} has no stage after layer "{deepest}".',
            reason="The method combines the maps of several stages; with one stage it equals the combined method.",
            fix=f"Set `layer:` to one of {', '.join(stages[:-1])}, or to `auto` for all of them."
            if len(stages) > 1
            else "Use the combined method itself, or list the architectures with several stages under `only:`.",
        )
    return stages[stages.index(start) :]


def _earlier_stages(net: nn.Module, deepest: str, most: int = BLOCKS_BEFORE) -> list[str]:
    """Return the stages before the default layer: from the table, from timm, or else at most so many blocks before it."""
    family = _family_in(net, EARLIER_STAGES)
    if family:
        return [resolve_layer(net, path) for path in EARLIER_STAGES[family]]
    info = [stage for stage in getattr(net, "feature_info", None) or [] if isinstance(stage, dict)]
    finer = [stage["module"] for stage in info if 4 <= stage["reduction"] < info[-1]["reduction"]]
    return [resolve_layer(net, path) for path in finer] or _earlier_blocks(net, deepest, most)


def _earlier_blocks(net: nn.Module, deepest: str, most: int) -> list[str]:
    """Return the same layer of at most `most` earlier blocks, such as `blocks.8.norm1`; or blocks inside the layer."""
    parts = deepest.split(".")
    for place, part in enumerate(parts):
        names = [name for name, _ in net.get_submodule(".".join(parts[:place])).named_children()]
        if part.isdigit() and len(names) > 1:
            before = names[: names.index(part)][-most:]
            return [".".join([*parts[:place], name, *parts[place + 1 :]]) for name in before]
    inside = dict(net.get_submodule(deepest).named_children()).get("blocks", nn.Sequential())
    return [f"{deepest}.blocks.{name}" for name, _ in inside.named_children()][:-1][-most:]


def _last_feature_layer(net: nn.Module) -> str:
    """Return the module of the last features, which timm lists for most networks."""
    info = getattr(net, "feature_info", None)
    last = (info or [{}])[-1]
    name = last.get("module", "") if isinstance(last, dict) else ""
    try:
        return resolve_layer(net, name)
    except LayerUnusable:
        raise LayerUnusable(
            problem=f"{type(net).__name__} has no default layer: its family is unknown, and timm lists no features for it.",
            reason="The layer decides what a map shows, so GradFaith does not guess it.",
            fix=f"Set `layer:` in the study. The network's first modules are {', '.join(_top_level_modules(net))}.",
        ) from None


def _unknown_layer_error(net: nn.Module, path: str, parent: str) -> LayerUnusable:
    names = [name for name, _ in net.named_modules() if name]
    close = difflib.get_close_matches(path, names, n=4, cutoff=0.4)
    inside = f'"{parent}"' if parent else type(net).__name__
    children = [name for name, _ in (net.get_submodule(parent) if parent else net).named_children()]
    return LayerUnusable(
        problem=f'{type(net).__name__} has no layer "{path}".',
        reason=f"The modules inside {inside} are: {', '.join(children) or 'none'}.",
        fix=f"Set `layer:` in the study to one of them. Did you mean {', '.join(close)}?"
        if close
        else "Set `layer:` in the study to one of them.",
    )


def _top_level_modules(net: nn.Module) -> list[str]:
    return [name for name, _ in net.named_children()]


@contextmanager
def skip_unread_tokens(net: nn.Module, tapped: Sequence[str]) -> Iterator[None]:
    """Run the last MLP of a vision transformer for the class token only, if nothing reads its other tokens.

    With the pooling `token` only the class token reaches the logits, so behind the last attention the other tokens have a
    gradient of exactly zero. The MLP costs two thirds of a block, forward and backward. Its single token is added to all
    tokens; only the class token is right then, and only it is read. Nothing is skipped if a layer behind it is tapped.
    """
    norm = _norm_of_last_mlp(net, tapped)
    hook = norm.register_forward_pre_hook(lambda _, inputs: (inputs[0][:, :1],)) if norm is not None else None
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()


def _norm_of_last_mlp(net: nn.Module, tapped: Sequence[str]) -> nn.Module | None:
    """Return the norm before the MLP of the last block; None for another network, pooling or tapped layer."""
    blocks: Any = getattr(net, "blocks", None)
    kinds = [(type(part).__module__, type(part).__name__) for part in (net, blocks[-1])] if blocks else []
    if kinds != [("timm.models.vision_transformer", name) for name in ("VisionTransformer", "Block")]:
        return None
    only_class_token = getattr(net, "global_pool", "") == "token" and getattr(net, "attn_pool", None) is None
    before = (*(f"blocks.{number}" for number in range(len(blocks) - 1)), f"blocks.{len(blocks) - 1}.norm1")
    is_before = all(layer in before or layer.startswith(tuple(f"{name}." for name in before)) for layer in tapped)
    norm = getattr(blocks[-1], "norm2", None)
    return norm if only_class_token and is_before and isinstance(norm, nn.Module) else None


@contextmanager
def freeze_temporarily(network: nn.Module) -> Iterator[None]:
    """Put all modules in eval mode and stop gradients of all parameters; restore both on exit."""
    training = {module for module in network.modules() if module.training}
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        if training:
            network.eval()
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        if training:
            network.train()  # networks that cache tensors in eval mode drop them here
            for module in network.modules():
                module.training = module in training


@contextmanager
def replace_zero_weights(network: nn.Module, *key: object) -> Iterator[None]:
    """Replace parameters that are exactly zero by small noise, drawn from `key`; set them to zero on exit."""
    zeros = [parameter for parameter in network.parameters() if not parameter.any()]
    device = zeros[0].device if zeros else "cpu"
    generator = torch.Generator(device=device).manual_seed(rng.seed("probe", "zeros", *key))
    with torch.no_grad():
        for parameter in zeros:
            parameter.normal_(std=0.02, generator=generator)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter in zeros:
                parameter.zero_()
