"""How a layer's raw output becomes a grid, `(n, c, h, w)`, and how a changed grid becomes a raw output again.

Square images make square grids, so the two equal axes are the grid; where that leaves a doubt (7 channels on a 7 x 7
grid) a wider image tells which axis grows, and `attribution/taps.py` asks it. Tokens before the grid's own (class, distillation,
registers) are what is left of their number. timm's `forward_intermediates` is no help here: for many families the map
it returns is a side branch without a path to the logits.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gradfaith.errors import LayerUnusable

_MOST_PREFIX_TOKENS = 16


@dataclass(frozen=True)
class Layout:
    """How a raw output becomes (n, c, h, w)."""

    kind: Literal["nchw", "nhwc", "tokens"]
    grid: tuple[int, int]
    prefix: int = 0  # tokens before the grid's own

    def apply(self, raw: Tensor) -> Tensor:  # (n, c, h, w)
        if self.kind == "nchw":
            return raw
        if self.kind == "tokens":
            raw = raw[:, self.prefix :].reshape(len(raw), *self.grid, raw.shape[-1])
        return raw.permute(0, 3, 1, 2)

    def undo(self, grid: Tensor, raw: Tensor) -> Tensor:
        """A grid (n, c, h, w) in the layer's own layout; tokens before the grid's own are those of `raw`."""
        if self.kind == "nchw":
            return grid
        last = grid.permute(0, 2, 3, 1)
        return torch.cat([raw[:, : self.prefix], last.flatten(1, 2)], dim=1) if self.kind == "tokens" else last


def of_shape(net: nn.Module, layer: str, shape: tuple[int, ...]) -> Layout | None:
    """The layout of a raw output whose rows have this shape; None where only a wider image can tell."""
    if len(shape) == 2:
        return _tokens(net, layer, shape[0])
    if len(shape) != 3:
        raise unusable(layer, f"returns {shape} for one image, which has no grid")
    first, middle, last = shape
    if middle == last != first:
        return Layout("nchw", (middle, last))
    return Layout("nhwc", (first, middle)) if first == middle != last else None


def by_growth(net: nn.Module, layer: str, shape: tuple[int, ...], wider: tuple[int, ...] | None) -> Layout:
    """Which axes grew with a wider image; a network of one size only says it of itself, in `output_fmt`."""
    if wider is None:
        declared = str(getattr(net, "output_fmt", "")).lower()
        grown = {"nchw": [2], "nhwc": [1]}.get(declared)
    else:
        grown = [axis for axis, (one, two) in enumerate(zip(shape, wider, strict=True)) if one != two]
    if grown == [2]:
        return Layout("nchw", (shape[1], shape[2]))
    if grown == [1]:
        return Layout("nhwc", (shape[0], shape[1]))
    raise unusable(layer, f"returns {shape} for one image, and which axes are the grid cannot be told")


def _tokens(net: nn.Module, layer: str, count: int) -> Layout:
    """The patch grid where the network states it, else the one square that fits."""
    stated = getattr(getattr(net, "patch_embed", None), "grid_size", None)
    if stated is not None and 0 <= count - math.prod(stated) <= _MOST_PREFIX_TOKENS:
        return Layout("tokens", (int(stated[0]), int(stated[1])), count - math.prod(stated))
    fitting = [
        Layout("tokens", (side, side), prefix)
        for prefix in sorted({0, int(getattr(net, "num_prefix_tokens", 0))})
        if (side := math.isqrt(max(count - prefix, 0))) and side * side == count - prefix
    ]
    if len(fitting) != 1:
        raise unusable(layer, f"returns {count} tokens for one image, which fit {len(fitting)} square grids")
    return fitting[0]


def unusable(layer: str, what: str) -> LayerUnusable:
    return LayerUnusable(
        found=f'Layer "{layer}" {what}.',
        why="A map needs one activation per image, on a grid, from which the logits are computed.",
        then="Name another layer with `layer:`, or leave it out for the family's default.",
    )
