"""Find out which axes of a layer's raw output are channels and grid, for any timm network.

A raw output becomes a grid by its shape. Square images give square grids, so the two equal axes are the grid. Where that
is ambiguous (7 channels on a 7 x 7 grid), a wider image is run, and the axis that grows is the width. Tokens beyond those
of the grid are prefix tokens (class, distillation, registers). Inside the blocks of Hiera the tokens stand by mask unit, not
row by row: timm's own `reroll` says which token belongs to which cell. timm's `forward_intermediates` does not help here: for many
families the map that it returns is a side branch without a path to the logits.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gradfaith.errors import LayerUnusable

_MOST_PREFIX_TOKENS = 16


@dataclass(frozen=True)
class GridLayout:
    """Which axes of a layer's raw output are channels and grid; converts it to (n, c, h, w) and back."""

    kind: Literal["nchw", "nhwc", "tokens"]
    grid: tuple[int, int]
    prefix_tokens: int = 0  # number of tokens before those of the grid
    order: tuple[int, ...] = ()  # the token of each cell, row by row; empty: tokens stand row by row

    def to_grid(self, raw: Tensor) -> Tensor:  # (n, c, h, w)
        """Return a raw output as a grid, without its prefix tokens."""
        if self.kind == "nchw":
            return raw
        if self.kind == "tokens":
            raw = raw[:, self.prefix_tokens :]
            raw = raw[:, list(self.order)] if self.order else raw
            raw = raw.reshape(len(raw), *self.grid, raw.shape[-1])
        return raw.permute(0, 3, 1, 2)

    def from_grid(self, grid: Tensor, raw: Tensor) -> Tensor:
        """Return a grid (n, c, h, w) in the layer's own layout; its prefix tokens are those of `raw`."""
        if self.kind == "nchw":
            return grid
        last = grid.permute(0, 2, 3, 1)
        if self.kind == "nhwc":
            return last
        tokens = last.flatten(1, 2)
        tokens = tokens[:, sorted(range(len(self.order)), key=self.order.__getitem__)] if self.order else tokens
        return torch.cat([raw[:, : self.prefix_tokens], tokens], dim=1)


def layout_of_shape(net: nn.Module, layer: str, shape: tuple[int, ...]) -> GridLayout | None:
    """Return the layout of a raw output from the shape of one row; None where only a wider image can tell."""
    if len(shape) == 2:
        return _tokens(net, layer, shape[0])
    if len(shape) != 3:
        raise unusable_layer(layer, f"returns {shape} for one image, which has no grid")
    first, middle, last = shape
    if middle == last != first:
        return GridLayout("nchw", (middle, last))
    return GridLayout("nhwc", (first, middle)) if first == middle != last else None


def layout_by_growth(net: nn.Module, layer: str, shape: tuple[int, ...], wider: tuple[int, ...] | None) -> GridLayout:
    """Return the layout from the axes that grew with a wider image, or from `output_fmt` where only one size works."""
    if wider is None:
        declared = str(getattr(net, "output_fmt", "")).lower()
        grown = {"nchw": [2], "nhwc": [1]}.get(declared)
    else:
        grown = [axis for axis, (one, two) in enumerate(zip(shape, wider, strict=True)) if one != two]
    if grown == [2]:
        return GridLayout("nchw", (shape[1], shape[2]))
    if grown == [1]:
        return GridLayout("nhwc", (shape[0], shape[1]))
    raise unusable_layer(layer, f"returns {shape} for one image, and which axes are the grid cannot be told")


def _tokens(net: nn.Module, layer: str, count: int) -> GridLayout:
    """Return the layout of tokens: the network's own patch grid, else the one square grid that fits."""
    stated = getattr(getattr(net, "patch_embed", None), "grid_size", None)
    if stated is not None and 0 <= count - math.prod(stated) <= _MOST_PREFIX_TOKENS:
        return GridLayout("tokens", (int(stated[0]), int(stated[1])), count - math.prod(stated))
    fitting = [
        GridLayout("tokens", (side, side), prefix, _token_order(net, layer, count))
        for prefix in sorted({0, int(getattr(net, "num_prefix_tokens", 0)), *_class_tokens(net)})
        if (side := math.isqrt(max(count - prefix, 0))) and side * side == count - prefix
    ]
    if len(fitting) != 1:
        raise unusable_layer(layer, f"returns {count} tokens for one image, which fit {len(fitting)} square grids")
    return fitting[0]


def _class_tokens(net: nn.Module) -> set[int]:
    """Return how many tokens each `cls_token` of the network has: not every network states `num_prefix_tokens`."""
    own = net.named_parameters(recurse=False)
    return {parameter.shape[1] for name, parameter in own if name.startswith("cls_token") and parameter.ndim == 3}


def _token_order(net: nn.Module, layer: str, count: int) -> tuple[int, ...]:
    """Return the token of each cell where Hiera has unrolled its tokens; empty where they stand row by row."""
    reroll: Any = getattr(net, "reroll", None)
    if reroll is None or not layer.startswith(("unroll", "blocks.")):
        return ()
    fitting = [block for block, (_, size) in reroll.schedule.items() if math.prod(size) == count]
    order = reroll(torch.arange(count).reshape(1, count, 1), fitting[0]).flatten().tolist() if fitting else []
    return () if order == list(range(count)) else tuple(order)


def unusable_layer(layer: str, what: str) -> LayerUnusable:
    """Return the error for a layer that gives no map; `what` continues 'Layer "x" ...'."""
    return LayerUnusable(
        problem=f'Layer "{layer}" {what}.',
        reason="A map needs one activation per image, on a grid, from which the logits are computed.",
        fix="Name another layer with `layer:`, or leave it out for the family's default.",
    )
