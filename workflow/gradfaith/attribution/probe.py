"""Check on noise, before hours of training, that a layer of a network gives a map at all.

The layer must have a grid of at least the minimum size, finite values, and a gradient that reaches every position. The
last condition is the one that often fails: where the head reads only the class token, the obvious layer (the last
block) has a gradient of exactly zero on every patch token, and a map normalised with `+ eps` still shows an image.

Before training, some networks have weights of exactly zero (a head, a residual branch's last norm), which would also
stop the gradient. The probe replaces them by noise and restores the zeros afterwards.

The error for a layer that fails names one that works: the nearest, found by trying its neighbours. Cost: a forward and
a short backward of four images, and the same for each neighbour tried.
"""

from collections.abc import Iterator
from contextlib import suppress

import torch
from torch import nn

from gradfaith.attribution.taps import tap_layers
from gradfaith.errors import LayerUnusable, ModelUnusable
from gradfaith.models.classifier import PROBE_IMAGES, Classifier, probe_images, replace_zero_weights
from gradfaith.models.layers import default_layer, resolve_layer

_MAX_NEIGHBOURS = 16


def probe(classifier: Classifier, layer: str, *, minimum_grid: int = 2) -> tuple[int, int]:
    """Return height and width of the layer's grid, or raise an error that names a layer that works."""
    path = resolve_layer(classifier.net, layer)
    with replace_zero_weights(classifier):
        _check_size(classifier)
        grid, fault = _examine(classifier, path, minimum_grid)
        if fault is None:
            return grid
        coarse = 0 < min(grid) < minimum_grid
        works = next(
            (name for name in _neighbours(classifier, path, coarse) if _works(classifier, name, minimum_grid)), None
        )
    raise LayerUnusable(
        problem=f'Layer "{path}" of {classifier.spec.timm} {fault}.',
        reason="A map is read from activations on a grid, each of which the score depends on.",
        fix=f'"{works}" works: set `layer: {works}`.'
        if works
        else "No layer near it works: choose a finer one by hand.",
    )


def _examine(classifier: Classifier, layer: str, minimum_grid: int) -> tuple[tuple[int, int], str | None]:
    """Return the grid, (0, 0) if there is none, and what is wrong with the layer (None if nothing is)."""
    images = probe_images(classifier)
    try:
        with tap_layers(classifier, layer) as tap:
            tap.forward(images)
            tap_of_noise = tap.single_tap(torch.arange(PROBE_IMAGES, device=images.device) % classifier.spec.n_targets)
    except LayerUnusable as error:
        return (0, 0), error.problem.removeprefix(f'Layer "{layer}" ').removesuffix(".")
    height, width = tap_of_noise.activation.shape[-2:]
    grid = (int(height), int(width))
    if min(grid) < minimum_grid:
        return grid, f"has a grid of {height} x {width}, coarser than {minimum_grid} x {minimum_grid}"
    if not (tap_of_noise.activation.isfinite().all() and tap_of_noise.gradient.isfinite().all()):
        return grid, "has activations or gradients that are not finite"
    missed = int((tap_of_noise.gradient.abs().amax(dim=(0, 1)) == 0).sum())
    if missed:
        return grid, f"has a gradient of exactly zero at {missed} of its {height * width} positions"
    return grid, None


def _works(classifier: Classifier, layer: str, minimum_grid: int) -> bool:
    return _examine(classifier, layer, minimum_grid)[1] is None


def _neighbours(classifier: Classifier, layer: str, coarse: bool) -> Iterator[str]:
    """Yield the modules inside the layer (unless it is too coarse), those before it, level by level, and the default."""
    net, names = classifier.net, list[str]()
    if not coarse:
        names += [f"{layer}.{name}" for name, _ in net.get_submodule(layer).named_modules() if name]
    parent, _, last = layer.rpartition(".")
    while parent:
        names += [f"{parent}.{name}" for name in _modules_before(net.get_submodule(parent), last)]
        parent, _, last = parent.rpartition(".")
    yield from names[:_MAX_NEIGHBOURS]
    with suppress(LayerUnusable):  # a network of the user's own may have none
        yield default_layer(net)
    yield from _modules_before(net, last)


def _modules_before(module: nn.Module, child: str) -> list[str]:
    names = [name for name, _ in module.named_children()]
    return names[: names.index(child)][::-1]


def _check_size(classifier: Classifier) -> None:
    training = {module: module.training for module in classifier.modules()}
    try:
        with torch.no_grad():
            classifier.eval()(probe_images(classifier)[:1])
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ModelUnusable(
            problem=f"{classifier.spec.timm} cannot take images of {classifier.spec.size} px: {error}",
            reason="Some architectures are made for one size, or for multiples of their patches and windows.",
            fix="Change the study's `size`, or pass what timm needs in the architecture's `options`.",
        ) from error
    finally:
        for module, mode in training.items():
            module.training = mode
