"""Run a method on a small network as a study runs it: with the inputs of `attribution/shared_passes.py`."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn

from gradfaith.attribution import shared_passes
from gradfaith.attribution.contract import ImageInputs, MapsWithDiagnostics
from gradfaith.models.classifier import Classifier, ClassifierSpec
from gradfaith.runtime.device import AdaptiveBatch
from gradfaith.vocabulary import Score


@contextmanager
def open_image_inputs(
    net: nn.Module,
    images: Tensor,
    target: Tensor,
    *,
    seeds: list[int] | None = None,
    mean: float = 0.0,
    std: float = 1.0,
    kind: Score = "logit",
    chunk: int = 16,
) -> Iterator[ImageInputs]:
    """Open the image inputs of a network with a normalisation before it, in the precision of the images."""
    spec = ClassifierSpec("a test's own", 3, images.shape[1], images.shape[1], images.shape[2], mean, std)
    classifier = Classifier(net, spec).to(images.dtype).eval()
    streams = [Generator().manual_seed(seed) for seed in seeds or range(len(images))]
    with shared_passes.open_shared_passes(classifier, images, [], chunk=AdaptiveBatch(chunk, images.device)) as shared:
        yield shared.for_target(target, torch.arange(len(images)), kind).image(streams)


def compute_maps(
    method: object, net: nn.Module, images: Tensor, target: Tensor, *, how: dict[str, object], **asked: object
) -> MapsWithDiagnostics:
    """Return maps and diagnostics of a method; `how` are its options."""
    with open_image_inputs(net, images, target, **asked) as given:  # type: ignore[arg-type]
        found = method.attribute(given, **how)  # type: ignore[attr-defined]
    return found if isinstance(found, MapsWithDiagnostics) else MapsWithDiagnostics(found)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Return uniform noise in [0, 1], in double precision."""
    return torch.rand(shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def draw_weights(net: nn.Module, seed: int = 0) -> nn.Module:
    """Draw the network's weights, biases and statistics from a seed, in double precision; return the network."""
    draw = Generator().manual_seed(seed)
    net.double().eval()
    with torch.no_grad():
        for module in net.modules():
            for name, values in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
                if not values.is_floating_point():
                    continue
                drawn = torch.randn(values.shape, generator=draw, dtype=torch.float64)
                positive = name == "running_var" or (isinstance(module, nn.BatchNorm2d) and name == "weight")
                fan = values[0].numel() if values.ndim > 1 else 4
                values.copy_(drawn.abs() + 0.5 if positive else drawn * (2 / fan) ** 0.5)
    return net


def linear_network(side: int, channels: int = 1) -> tuple[nn.Module, Tensor]:
    """Return a network that is a weighted sum per class, and its weights (3, c, h, w)."""
    net = draw_weights(nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, 3)))
    return net, net[1].weight.detach().reshape(3, channels, side, side)  # type: ignore[index, union-attr, operator]


def relu_network(*middle: nn.Module, channels: int = 1, width: int = 6) -> nn.Module:
    """Return a small network with ReLUs, one of them in place, and with the modules `middle` in its middle."""
    return draw_weights(
        nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True), *middle,
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 3),
        )
    )  # fmt: skip


TARGET = torch.tensor([0, 1, 2])
