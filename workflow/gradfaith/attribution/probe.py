"""The probe: does this layer of this network give a map at all? Asked on noise, before hours of training.

It must have a grid at least as fine as asked for, finite values, and a gradient that reaches every position. The last
is the one that catches: where only a class token is read, the obvious layer (the last block) has a gradient of exactly
zero on every patch token, and a map normalised with `+ eps` still shows a picture of this nothing.

Before training, some networks have weights of exactly zero (a head, a residual branch's last norm), which would stop
the gradient too. They are noise while the probe runs, and zero again afterwards.

A layer that fails is refused together with the name of one that works: the nearest, tried in turn. Cost: a forward and
a short backward of four images, and as much again for each neighbour tried.
"""

from collections.abc import Iterator
from contextlib import suppress

import torch
from torch import nn

from gradfaith.attribution.taps import tapped
from gradfaith.errors import LayerUnusable, ModelUnusable
from gradfaith.models.classifier import PROBE_IMAGES, Classifier, noise, zeros_as_noise
from gradfaith.models.layers import default, resolve

_NEIGHBOURS = 16


def probe(classifier: Classifier, layer: str, *, minimum_grid: int = 2) -> tuple[int, int]:
    """The layer's grid, or a refusal that names a layer that works."""
    path = resolve(classifier.net, layer)
    with zeros_as_noise(classifier):
        _check_size(classifier)
        grid, fault = _examine(classifier, path, minimum_grid)
        if fault is None:
            return grid
        coarse = 0 < min(grid) < minimum_grid
        works = next((name for name in _near(classifier, path, coarse) if _works(classifier, name, minimum_grid)), None)
    raise LayerUnusable(
        found=f'Layer "{path}" of {classifier.spec.timm} {fault}.',
        why="A map is read from activations on a grid, each of which the score depends on.",
        then=f'"{works}" works: set `layer: {works}`.'
        if works
        else "No layer near it works: choose a finer one by hand.",
    )


def _examine(classifier: Classifier, layer: str, minimum_grid: int) -> tuple[tuple[int, int], str | None]:
    """The grid, (0, 0) if there is none, and what is wrong with the layer, None if nothing is."""
    images = noise(classifier)
    try:
        with tapped(classifier, layer) as tap:
            tap.forward(images)
            found = tap.target(torch.arange(PROBE_IMAGES, device=images.device) % classifier.spec.targets)
    except LayerUnusable as refusal:
        return (0, 0), refusal.found.removeprefix(f'Layer "{layer}" ').removesuffix(".")
    height, width = found.activation.shape[-2:]
    grid = (int(height), int(width))
    if min(grid) < minimum_grid:
        return grid, f"has a grid of {height} x {width}, coarser than {minimum_grid} x {minimum_grid}"
    if not (found.activation.isfinite().all() and found.gradient.isfinite().all()):
        return grid, "has activations or gradients that are not finite"
    missed = int((found.gradient.abs().amax(dim=(0, 1)) == 0).sum())
    if missed:
        return grid, f"has a gradient of exactly zero at {missed} of its {height * width} positions"
    return grid, None


def _works(classifier: Classifier, layer: str, minimum_grid: int) -> bool:
    return _examine(classifier, layer, minimum_grid)[1] is None


def _near(classifier: Classifier, layer: str, coarse: bool) -> Iterator[str]:
    """What lies inside the layer (useless if it is too coarse); what comes before it, level by level; the default."""
    net, names = classifier.net, list[str]()
    if not coarse:
        names += [f"{layer}.{name}" for name, _ in net.get_submodule(layer).named_modules() if name]
    parent, _, last = layer.rpartition(".")
    while parent:
        names += [f"{parent}.{name}" for name in _before(net.get_submodule(parent), last)]
        parent, _, last = parent.rpartition(".")
    yield from names[:_NEIGHBOURS]
    with suppress(LayerUnusable):  # a network of the user's own may have none
        yield default(net)
    yield from _before(net, last)


def _before(module: nn.Module, child: str) -> list[str]:
    names = [name for name, _ in module.named_children()]
    return names[: names.index(child)][::-1]


def _check_size(classifier: Classifier) -> None:
    training = {module: module.training for module in classifier.modules()}
    try:
        with torch.no_grad():
            classifier.eval()(noise(classifier)[:1])
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ModelUnusable(
            found=f"{classifier.spec.timm} cannot take images of {classifier.spec.size} px: {error}",
            why="Some architectures are made for one size, or for multiples of their patches and windows.",
            then="Change the study's `size`, or pass what timm needs in the architecture's `options`.",
        ) from error
    finally:
        for module, mode in training.items():
            module.training = mode
