"""Change a network temporarily: freeze its parameters, or replace weights that are exactly zero; both restore it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from gradfaith import rng


@contextmanager
def freeze_temporarily(network: nn.Module) -> Iterator[None]:
    """Put all modules in eval mode and stop gradients of all parameters; restore both on exit."""
    training = {module for module in network.modules() if module.training}
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        if training:
            network.eval()
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        if training:
            network.train()  # networks that cache tensors in eval mode drop them here
            for module in network.modules():
                module.training = module in training


@contextmanager
def replace_zero_weights(network: nn.Module, *key: object) -> Iterator[None]:
    """Replace parameters that are exactly zero by small noise, drawn from `key`; set them to zero on exit."""
    zeros = [parameter for parameter in network.parameters() if not parameter.any()]
    device = zeros[0].device if zeros else "cpu"
    generator = torch.Generator(device=device).manual_seed(rng.seed("probe", "zeros", *key))
    with torch.no_grad():
        for parameter in zeros:
            parameter.normal_(std=0.02, generator=generator)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter in zeros:
                parameter.zero_()
