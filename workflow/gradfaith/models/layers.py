"""Find the layer of a network that a map is read from: timm's own names, one line per family.

The default is the last layer that still has a grid and whose every position reaches the score. For a network with a
class token that is not the last block's output (its patch tokens have exactly zero gradient) but the block's first
norm. A path may count from the end: `blocks.-1.norm1`. A study overrides the default with `layer:`.
"""

import difflib

from torch import nn

from gradfaith.errors import LayerUnusable

# A family is one of timm's model files; a network belongs to the file that defines its class, or a base class of it.
DEFAULT_LAYERS = {
    "beit": "blocks.-1.norm1",
    "cait": "blocks.-1",
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

AUTO = "auto"  # the study leaves the choice to the table above
RESIDUAL = "residual"  # the deepest output of a transformer's blocks that reaches the score from every patch


def default_layer(net: nn.Module) -> str:
    """Return the default layer of a timm network, as a path without negative indices."""
    for cls in type(net).__mro__:
        family = cls.__module__.rpartition(".")[2]
        if family in DEFAULT_LAYERS:
            return resolve_layer(net, DEFAULT_LAYERS[family])
    return _last_feature_layer(net)


def resolve_layer(net: nn.Module, path: str) -> str:
    """Return the path of an existing layer: `blocks.-1.norm1` -> `blocks.11.norm1`, `auto` -> the default layer.

    Raises:
        LayerUnusable: there is no such layer; the error names layers with similar names.
    """
    if path == AUTO or (path == RESIDUAL and not hasattr(net, "blocks")):  # a requirement refuses methods of blocks
        return default_layer(net)
    if path == RESIDUAL:  # a class token reads the patches inside the last block, so their last output is unused
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


def layer_stack(net: nn.Module, path: str = AUTO) -> tuple[str, ...]:
    """Return a layer and all deeper stages of the network, shallow to deep; `auto`: all stages.

    The stages are those timm takes features from, at a quarter of the image's resolution or below, and the default
    layer as the deepest. For a network whose blocks all have one resolution they are the last four blocks.
    """
    deepest = default_layer(net)
    info = [stage for stage in getattr(net, "feature_info", None) or [] if isinstance(stage, dict)]
    finer = [stage["module"] for stage in info if 4 <= stage["reduction"] < info[-1]["reduction"]]
    if not finer and ".-1" in (last_block := _count_block_from_end(net, deepest)):
        finer = [resolve_layer(net, last_block.replace(".-1", f".-{back}", 1)) for back in (4, 3, 2)]
    stages = (*finer, deepest)
    start = stages[0] if path == AUTO else resolve_layer(net, path)
    if start not in stages:
        raise LayerUnusable(
            problem=f'"{start}" is none of the stages of {type(net).__name__}.',
            reason="Maps of a layer and of all deeper ones are combined, so it must be known which are deeper.",
            fix=f"Name one of {', '.join(stages)}, or `auto` for all of them.",
        )
    return stages[stages.index(start) :]


def _count_block_from_end(net: nn.Module, path: str) -> str:
    """Turn `blocks.11.norm1` into `blocks.-1.norm1` if there are at least four blocks."""
    head, _, rest = path.partition(".")
    number, _, tail = rest.partition(".")
    enough_blocks = number.isdigit() and len(dict(net.get_submodule(head).named_children())) > 3
    return f"{head}.-1.{tail}" if enough_blocks and tail else path


def _last_feature_layer(net: nn.Module) -> str:
    """Return the module of the last features, which timm names for most networks."""
    info = getattr(net, "feature_info", None)
    last = (info or [{}])[-1]
    name = last.get("module", "") if isinstance(last, dict) else ""
    try:
        return resolve_layer(net, name)
    except LayerUnusable:
        raise LayerUnusable(
            problem=f"{type(net).__name__} is in no family with a known layer, and timm names none for it.",
            reason="Which layer a map is read from decides what it shows, so it is never guessed.",
            fix=f"Name one with `layer:` in the study. Its first modules: {', '.join(_top_level_modules(net))}.",
        ) from None


def _unknown_layer_error(net: nn.Module, path: str, parent: str) -> LayerUnusable:
    names = [name for name, _ in net.named_modules() if name]
    close = difflib.get_close_matches(path, names, n=4, cutoff=0.4)
    inside = f'"{parent}"' if parent else type(net).__name__
    children = [name for name, _ in (net.get_submodule(parent) if parent else net).named_children()]
    return LayerUnusable(
        problem=f'{type(net).__name__} has no layer "{path}".',
        reason=f"Inside {inside} there are: {', '.join(children) or 'no modules'}.",
        fix=f"Did you mean {', '.join(close)}?" if close else "Name one of them with `layer:` in the study.",
    )


def _top_level_modules(net: nn.Module) -> list[str]:
    return [name for name, _ in net.named_children()]
