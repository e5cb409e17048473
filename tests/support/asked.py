"""A network of a test's own, asked as a study asks: through the provider of `attribution/shared_passes.py`."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn

from gradfaith.attribution import shared_passes
from gradfaith.attribution.contract import Asked, Noted
from gradfaith.models.classifier import Classifier, Spec
from gradfaith.runtime.batching import Chunk
from gradfaith.vocabulary import Score


@contextmanager
def asking(
    net: nn.Module,
    images: Tensor,
    target: Tensor,
    *,
    seeds: list[int] | None = None,
    mean: float = 0.0,
    std: float = 1.0,
    kind: Score = "logit",
    chunk: int = 16,
) -> Iterator[Asked]:
    """The network behind a normalisation, in the images' precision."""
    spec = Spec("a test's own", 3, images.shape[1], images.shape[1], images.shape[2], mean, std)
    classifier = Classifier(net, spec).to(images.dtype).eval()
    streams = [Generator().manual_seed(seed) for seed in seeds or range(len(images))]
    with shared_passes.meeting(classifier, images, [], chunk=Chunk(chunk, images.device)) as meeting:
        yield meeting.asked(target, torch.arange(len(images)), kind).image(streams)


def answer(
    method: object, net: nn.Module, images: Tensor, target: Tensor, *, how: dict[str, object], **asked: object
) -> Noted:
    """Maps and notes of a method."""
    with asking(net, images, target, **asked) as given:  # type: ignore[arg-type]
        found = method.attribute(given, **how)  # type: ignore[attr-defined]
    return found if isinstance(found, Noted) else Noted(found)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """In [0, 1], in double precision."""
    return torch.rand(shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def weighed(net: nn.Module, seed: int = 0) -> nn.Module:
    """The same network with weights, biases and statistics drawn from a seed, in double precision."""
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


def linear(side: int, channels: int = 1) -> tuple[nn.Module, Tensor]:
    """A network that is a weighted sum per class, and its weights (3, c, h, w)."""
    net = weighed(nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, 3)))
    return net, net[1].weight.detach().reshape(3, channels, side, side)  # type: ignore[index, union-attr, operator]


def bent(*middle: nn.Module, channels: int = 1, width: int = 6) -> nn.Module:
    """A small network that bends by ReLUs, one of them in place, with what is given in its middle."""
    return weighed(
        nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True), *middle,
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 3),
        )
    )  # fmt: skip


TARGET = torch.tensor([0, 1, 2])
