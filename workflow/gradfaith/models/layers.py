"""Which layer of a network a map is read from: timm's own names, one line per family.

The layer is the last one that still has a grid and whose every position reaches the score. For a network with a class
token that is not the last block's output (its patch tokens have exactly zero gradient) but the block's first norm.
A path may count from the end: `blocks.-1.norm1`. A study overrides all this with `layer:`.
"""

import difflib

from torch import nn

from gradfaith.errors import LayerUnusable

# Families are timm's model files; a network belongs to the file its class, or a class it extends, is written in.
DEFAULT = {
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


def default(net: nn.Module) -> str:
    """The default layer of a timm network, as a path without negative indices."""
    for cls in type(net).__mro__:
        family = cls.__module__.rpartition(".")[2]
        if family in DEFAULT:
            return resolve(net, DEFAULT[family])
    return _from_features(net)


def resolve(net: nn.Module, path: str) -> str:
    """`blocks.-1.norm1` -> `blocks.11.norm1`, a word -> its layer; or a refusal that names layers close to it."""
    if path == AUTO or (path == RESIDUAL and not hasattr(net, "blocks")):  # a method of blocks is refused by its trait
        return default(net)
    if path == RESIDUAL:  # what a class token reads, it has read before the last block ends
        path = "blocks.-2" if getattr(net, "global_pool", None) == "token" else "blocks.-1"
    module, found = net, list[str]()
    for part in path.split("."):
        children = dict(module.named_children())
        name = part
        if part.startswith("-") and part[1:].isdigit() and int(part[1:]) <= len(children):
            name = list(children)[int(part)]
        if name not in children:
            raise _unknown(net, path, ".".join(found))
        module = children[name]
        found.append(name)
    return ".".join(found)


def stack(net: nn.Module, path: str = AUTO) -> tuple[str, ...]:
    """A layer and all deeper ones of the family's stages, shallow to deep; `auto`: all of them.

    The stages are those timm takes features from, at a quarter of the image's resolution or below, and the default layer
    as the deepest. A network whose blocks all have one resolution has the last four of them.
    """
    deepest = default(net)
    info = [stage for stage in getattr(net, "feature_info", None) or [] if isinstance(stage, dict)]
    finer = [stage["module"] for stage in info if 4 <= stage["reduction"] < info[-1]["reduction"]]
    if not finer and ".-1" in (path_of_blocks := _counted_from_the_end(net, deepest)):
        finer = [resolve(net, path_of_blocks.replace(".-1", f".-{back}", 1)) for back in (4, 3, 2)]
    found = (*finer, deepest)
    start = found[0] if path == AUTO else resolve(net, path)
    if start not in found:
        raise LayerUnusable(
            found=f'"{start}" is none of the stages of {type(net).__name__}.',
            why="Maps of a layer and of all deeper ones are combined, so it must be known which are deeper.",
            then=f"Name one of {', '.join(found)}, or `auto` for all of them.",
        )
    return found[found.index(start) :]


def _counted_from_the_end(net: nn.Module, path: str) -> str:
    """`blocks.11.norm1` -> `blocks.-1.norm1`, where there are four of them at least."""
    head, _, rest = path.partition(".")
    number, _, tail = rest.partition(".")
    many = number.isdigit() and len(dict(net.get_submodule(head).named_children())) > 3
    return f"{head}.-1.{tail}" if many and tail else path


def _from_features(net: nn.Module) -> str:
    """timm says of most networks which module makes their last features."""
    info = getattr(net, "feature_info", None)
    last = (info or [{}])[-1]
    name = last.get("module", "") if isinstance(last, dict) else ""
    try:
        return resolve(net, name)
    except LayerUnusable:
        raise LayerUnusable(
            found=f"{type(net).__name__} is in no family with a known layer, and timm names none for it.",
            why="Which layer a map is read from decides what it shows, so it is never guessed.",
            then=f"Name one with `layer:` in the study. Its first modules: {', '.join(_top(net))}.",
        ) from None


def _unknown(net: nn.Module, path: str, found: str) -> LayerUnusable:
    names = [name for name, _ in net.named_modules() if name]
    close = difflib.get_close_matches(path, names, n=4, cutoff=0.4)
    inside = f'"{found}"' if found else type(net).__name__
    children = [name for name, _ in (net.get_submodule(found) if found else net).named_children()]
    return LayerUnusable(
        found=f'{type(net).__name__} has no layer "{path}".',
        why=f"Inside {inside} there are: {', '.join(children) or 'no modules'}.",
        then=f"Did you mean {', '.join(close)}?" if close else "Name one of them with `layer:` in the study.",
    )


def _top(net: nn.Module) -> list[str]:
    return [name for name, _ in net.named_children()]
