"""Shuffled maps: a method's own map with its places exchanged; what it then still scores, it did not earn by pointing.

    native maps    the cells of the layer's grid are permuted, before any upsampling
    input maps     the map is rolled by a random offset, other than none

A map keeps its values, its resolution and its smoothness, and loses only where they lie. Permuting the pixels of a
smooth map instead is a biased control: it also destroys the smoothness, and an ignorant blob then gains over it.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from gradfaith.methods.contract import Grid


def shuffled(maps: Tensor, generators: Sequence[Generator], grid: Grid) -> Tensor:  # (n, h, w) -> (n, h, w)
    """One shuffled copy of each map, with its own generator."""
    move = _permuted if grid == "native" else _rolled
    return torch.stack([move(map_, generator) for map_, generator in zip(maps, generators, strict=True)])


def _permuted(map_: Tensor, generator: Generator) -> Tensor:  # (h, w) -> (h, w)
    order = torch.randperm(map_.numel(), generator=generator, device=generator.device)
    return map_.flatten()[order.to(map_.device)].reshape(map_.shape)


def _rolled(map_: Tensor, generator: Generator) -> Tensor:  # (h, w) -> (h, w)
    _, width = map_.shape
    offset = int(torch.randint(1, map_.numel(), (), generator=generator, device=generator.device))
    return map_.roll((offset // width, offset % width), dims=(0, 1))
