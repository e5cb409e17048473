"""Shuffled controls: a method's own maps with their positions permuted.

    native maps    the cells of the layer's grid are permuted, before any upsampling
    input maps     the map is rolled by a random offset other than (0, 0)

A shuffled map keeps its values, its resolution and its smoothness, and loses only where the values lie. Any score that
it still reaches was not earned by the location of the values. Permuting the pixels of a smooth map would be a biased
control: it would also destroy the smoothness, and an uninformative blob would then beat it.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from gradfaith.vocabulary import Grid


def shuffle_maps(maps: Tensor, generators: Sequence[Generator], grid: Grid) -> Tensor:  # (n, h, w) -> (n, h, w)
    """Return one shuffled copy of each map, each drawn from its own generator."""
    shuffle = _permute_cells if grid == "native" else _roll
    return torch.stack([shuffle(map_, generator) for map_, generator in zip(maps, generators, strict=True)])


def _permute_cells(map_: Tensor, generator: Generator) -> Tensor:  # (h, w) -> (h, w)
    order = torch.randperm(map_.numel(), generator=generator, device=generator.device)
    return map_.flatten()[order.to(map_.device)].reshape(map_.shape)


def _roll(map_: Tensor, generator: Generator) -> Tensor:  # (h, w) -> (h, w)
    _, width = map_.shape
    offset = int(torch.randint(1, map_.numel(), (), generator=generator, device=generator.device))
    return map_.roll((offset // width, offset % width), dims=(0, 1))
