"""Check on noise images, before hours of training, that a layer of a network gives a map.

The layer must have a grid of at least the minimum size, finite values, and a gradient that reaches every position. The
last condition is often not met: if the head reads only the class token, the obvious layer (the last block) has a
gradient of exactly zero on every patch token, and a map normalised with `+ eps` would still show an image.

The cells must also be at their places: tokens can be in the order of windows, or class tokens can follow the patches.
So eight patches of the image are darkened in turn, and the change of each cell is measured:

    m[p, c]    the change of the activation of cell c for patch p, as a share of the change of all cells
    d[p, c]    m[p, c] minus the mean over patches: attention and normalisation also change cells far from the patch
    t[p, c]    the same for exp(-2 r^2), r the distance of the cell's centre from the patch, in cells
    agreement  the correlation of d and t
    nearest    weighted by the largest d, the share of cells that change most for a patch near them (t at least half of
               its largest): it is high if few cells of a patch change at all, as after strided shortcuts

A layer is refused if the agreement is below 0.5 and `nearest` below 0.7, on one image and on the mean of four. A layer of
tokens is also refused if it agrees better when all tokens are shifted by one: a class token was counted as a patch.

If nearly all of the change is the same for all patches, their order cannot be determined, and the layer is accepted:
untrained attention without a residual path (LeViT's last stages), or very deep untrained convolutions.

Before training, some networks have weights of exactly zero (a head, a residual branch's last norm), which would also
stop the gradient. The probe replaces them by noise and restores the zeros afterwards.

The error for an unusable layer names the nearest usable one, found by trying its neighbours. Cost: a forward and a
short backward of four images, and forwards of nine more, or of 45 if these do not agree; the same for each
neighbour tried.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from math import ceil, floor

import torch
from torch import Tensor, nn

from gradfaith.attribution.contract import Tap
from gradfaith.attribution.taps import TappedClassifier, tap_layers
from gradfaith.errors import LayerUnusable, ModelUnusable
from gradfaith.models.classifier import PROBE_IMAGES, Classifier, probe_images
from gradfaith.models.layers import default_layer, replace_zero_weights, resolve_layer

_MAX_NEIGHBOURS = 16
# As shares of the image's side: the patches' centres (not in the middle, which a flip would not change), and their size.
_CENTRES = [(y / 6, x / 6) for y, x in product((1, 3, 5), repeat=2) if (y, x) != (3, 3)]
_PATCH = 1 / 4
_DARKER = 0.2  # factor on a patch's pixels
MIN_AGREEMENT = 0.5
MIN_NEAREST = 0.7
MIN_DEPENDS = 0.1  # share of the change that depends on the patch, below which positions cannot be determined


def probe(classifier: Classifier, layer: str, *, minimum_grid: int = 2) -> tuple[int, int]:
    """Return height and width of the layer's grid, or raise an error that names a usable layer."""
    path = resolve_layer(classifier.net, layer)
    with replace_zero_weights(classifier):
        _check_size(classifier)
        grid, fault = examine_layer(classifier, path, minimum_grid)
        if fault is None:
            return grid
        coarse = 0 < min(grid) < minimum_grid
        works = next(
            (name for name in _neighbours(classifier, path, coarse) if _works(classifier, name, minimum_grid)), None
        )
    raise LayerUnusable(
        problem=f'Layer "{path}" of {classifier.spec.name} {fault}.',
        reason="A map needs activations on a grid: each cell must respond to the part of the image at its own place, and the "
        "class score must depend on every cell.",
        fix=f"Set `layer: {works}`, which works."
        if works
        else "Set `layer:` in the study to a layer further away, for example with a finer grid: no layer near this one works.",
    )


def examine_layer(classifier: Classifier, layer: str, minimum_grid: int) -> tuple[tuple[int, int], str | None]:
    """Return the grid, (0, 0) if there is none, and the fault of the layer (None if it has none)."""
    images = probe_images(classifier)
    try:
        with tap_layers(classifier, layer) as tap:
            tap.forward(images)
            tap_of_noise = tap.single_tap(torch.arange(PROBE_IMAGES, device=images.device) % classifier.spec.n_targets)
            height, width = (int(side) for side in tap_of_noise.activation.shape[-2:])
            fault = _fault_of_values(tap_of_noise, minimum_grid) or _fault_of_places(tap, images)
    except LayerUnusable as error:
        return (0, 0), error.problem.removeprefix(f'Layer "{layer}" ').removesuffix(".")
    return (height, width), fault


def _fault_of_values(tap: Tap, minimum_grid: int) -> str | None:
    height, width = tap.activation.shape[-2:]
    if min(height, width) < minimum_grid:
        return f"has a grid of {height} x {width}, coarser than {minimum_grid} x {minimum_grid}"
    if not (tap.activation.isfinite().all() and tap.gradient.isfinite().all()):
        return "has activations or gradients that are not finite"
    missed = int((tap.gradient.abs().amax(dim=(0, 1)) == 0).sum())
    return f"has a gradient of exactly zero at {missed} of its {height * width} positions" if missed else None


def _fault_of_places(tap: TappedClassifier, images: Tensor) -> str | None:
    """Return why the cells are not at their places, or None."""
    found = measure_placement(tap, images[:1])
    if found.depends < MIN_DEPENDS:
        return None
    found = (
        found if found.in_place else measure_placement(tap, images)
    )  # the noise is smaller in the mean of four images
    if not found.in_place:
        return (
            "changes at the wrong cells when a patch of the image changes "
            f"(agreement {found.agreement:.2f}, at least {MIN_AGREEMENT} is needed)"
        )
    if tap.layout().kind == "tokens" and found.neighbours > found.agreement:
        return f"has its tokens shifted by one (agreement {found.agreement:.2f}; {found.neighbours:.2f} after a shift)"
    return None


@dataclass(frozen=True)
class Placement:
    """Numbers that show whether the cells of a layer are at their places."""

    depends: float  # share of the change that depends on the patch's position
    agreement: float  # with the expected change of cells at their places
    neighbours: float  # the same if all cells are shifted by one, row by row; the better direction
    nearest: float  # share of the cells that change most for a patch near them

    @property
    def in_place(self) -> bool:
        return self.agreement >= MIN_AGREEMENT or self.nearest >= MIN_NEAREST


def measure_placement(tap: TappedClassifier, images: Tensor) -> Placement:
    """Compare the change of the tapped layer's cells, averaged over the images, with the expected change."""
    share = torch.stack([_measure_movement(tap, image[None]) for image in images]).mean(dim=0)
    differences = share - share.mean(dim=0)
    expected = expected_movement(*share.shape[1:]).to(share)
    neighbours = [_correlation(differences.flatten(1).roll(step, 1), expected.flatten(1)) for step in (-1, 1)]
    tiny = torch.finfo(share.dtype).tiny
    strongest = differences.max(dim=0)
    near = expected.gather(0, strongest.indices[None])[0] >= expected.amax(dim=0) / 2
    return Placement(
        float(differences.clamp(min=0).sum() / share.sum().clamp(min=tiny)),
        _correlation(differences, expected),
        max(neighbours),
        float((near * strongest.values).sum() / strongest.values.sum().clamp(min=tiny)),
    )


def _measure_movement(tap: TappedClassifier, image: Tensor) -> Tensor:  # (patches, h, w)
    """Return the change of each cell's activation when a patch of the image changes, as shares of all change."""
    side, changed = image.shape[-1], image.repeat(len(_CENTRES), 1, 1, 1)
    for one, centre in zip(changed, _CENTRES, strict=True):
        rows, columns = (slice(floor(side * (at - _PATCH / 2)), ceil(side * (at + _PATCH / 2))) for at in centre)
        one[:, rows, columns] *= _DARKER
    found = []
    for batch in (image, *torch.split(changed, PROBE_IMAGES)):
        tap.forward(batch)
        found.append(tap.activation())
    movement: Tensor = torch.linalg.vector_norm(torch.cat(found[1:]) - found[0], dim=1)
    total = movement.sum(dim=(1, 2), keepdim=True)
    return movement / total.clamp(min=torch.finfo(movement.dtype).tiny)


def expected_movement(height: int, width: int) -> Tensor:  # (patches, h, w)
    """Return the expected `_measure_movement`, minus its mean over patches, if each cell sees its own neighbourhood."""
    near = []
    for centre in _CENTRES:
        away = [
            (((torch.arange(count) + 0.5) / count - at).abs() - _PATCH / 2).clamp(min=0) * count
            for at, count in zip(centre, (height, width), strict=True)
        ]
        near.append(torch.exp(-2 * (away[0][:, None] ** 2 + away[1] ** 2)))
    share = torch.stack([one / one.sum() for one in near])
    return share - share.mean(dim=0)


def _correlation(one: Tensor, other: Tensor) -> float:
    """Return the correlation of two tensors whose means are zero."""
    return float((one * other).sum() / (one.norm() * other.norm()).clamp(min=torch.finfo(one.dtype).tiny))


def _works(classifier: Classifier, layer: str, minimum_grid: int) -> bool:
    return examine_layer(classifier, layer, minimum_grid)[1] is None


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
            problem=f"{classifier.spec.name} cannot take images of {classifier.spec.size} px: {error}",
            reason="Some architectures are made for one size, or for multiples of their patches and windows.",
            fix="Change `image.size` in the study, or pass what timm needs in the architecture's `options`.",
        ) from error
    finally:
        for module, mode in training.items():
            module.training = mode
