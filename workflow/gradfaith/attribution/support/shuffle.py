"""Shuffled maps: a method's own map with its places exchanged; what it then still scores, it did not earn by pointing.

    native maps    the cells of the layer's grid are permuted, before any upsampling
    input maps     the map is rolled by a random offset, other than none

A map keeps its values, its resolution and its smoothness, and loses only where they lie. Permuting the pixels of a
smooth map instead is a biased control: it also destroys the smoothness, and an ignorant blob then gains over it.

Baselines: the picture that stands for "nothing here", where paths begin and what windows are filled with.

    black   0; on CT air, inside the body too
    mean    the grey that the network's normalisation takes away, which is 0 for its first layer
    blur    the image without its detail

They are the imputers of the same names, so what a method takes for nothing can be what a metric takes for nothing.

Layers that compute the same and hand gradients back by a rule of their own, while the block lasts.

    with swapped(network, {nn.ReLU: lambda _relu: rule}): ...

Only `forward` is replaced, on the module itself, so nothing is left on the network afterwards. A layer that works in place
does not while it is swapped. What a network calls as a function, not as a module, is out of reach.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from gradfaith.attribution.contract import Asked
from gradfaith.metrics.contract import Context
from gradfaith.metrics.imputers import black, blur, mean
from gradfaith.vocabulary import Grid


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


FILLS = {"black": black.fill, "mean": mean.fill, "blur": blur.fill}


def baseline(asked: Asked, kind: Literal["black", "mean", "blur"]) -> Tensor:  # (n, c, h, w)
    return FILLS[kind](asked.images, Context(keep=None, mean=asked.mean))


Rule = Callable[[Tensor], Tensor]


@contextmanager
def swapped(network: nn.Module, rules: Mapping[type[nn.Module], Callable[..., Rule]]) -> Iterator[None]:
    """Every module of these classes answers by the rule that is made for it."""
    pairs = [(module, rule) for module in network.modules() for kind, rule in rules.items() if isinstance(module, kind)]
    before = [module.__dict__.get("forward") for module, _ in pairs]
    try:
        for module, rule in pairs:
            module.forward = rule(module)
        yield
    finally:
        for (module, _), own in zip(pairs, before, strict=True):
            module.__dict__.pop("forward", None)
            if own is not None:
                module.forward = own
