"""What a classifier is put into for a moment and comes out of unchanged: frozen, or without weights of zero; and noise to feed it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from gradfaith import rng
from gradfaith.models.classifier import Classifier

PROBE_IMAGES = 4


def noise(classifier: Classifier) -> Tensor:  # (n, channels, h, w)
    spec, generator = classifier.spec, torch.Generator().manual_seed(rng.seed("probe"))
    return torch.rand(PROBE_IMAGES, spec.channels, spec.size, spec.size, generator=generator).to(classifier.mean.device)


@contextmanager
def frozen(classifier: Classifier) -> Iterator[None]:
    """Every module evaluates, no parameter asks for a gradient; on leaving, all is as it was."""
    training = {module for module in classifier.modules() if module.training}
    trainable = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    try:
        if training:
            classifier.eval()
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        if training:
            classifier.train()  # networks that keep something while evaluating drop it here
            for module in classifier.modules():
                module.training = module in training


@contextmanager
def zeros_as_noise(classifier: Classifier, *key: object) -> Iterator[None]:
    """Parameters that are exactly zero are small noise, drawn for a key; on leaving they are zero again."""
    zeros = [parameter for parameter in classifier.parameters() if not parameter.any()]
    generator = torch.Generator(device=classifier.mean.device).manual_seed(rng.seed("probe", "zeros", *key))
    with torch.no_grad():
        for parameter in zeros:
            parameter.normal_(std=0.02, generator=generator)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter in zeros:
                parameter.zero_()
