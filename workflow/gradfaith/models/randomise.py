"""A classifier that forgets: its weights replaced by random ones, module by module, from the head down or from the image up.

    top_down    step k of n: the k groups of modules nearest to the head are random        the cascade of [adebayo2018]
    bottom_up   step k of n: the k groups nearest to the image

The modules are those with parameters or buffers of their own, in the order they begin to run, cut into n nearly equal
groups. What replaces them is a fresh network of the same architecture, with another seed: its weights, and its batch
norms' statistics with them. After the last step of either order the network is that fresh one, the same for both.

Parameters that are exactly zero in a fresh network (biases, a residual branch's last norm, some heads) are small noise
here, or nothing would have a gradient. A fresh network normalises by statistics it never took, so deep ones may answer
with large or constant numbers: such maps are labelled, not hidden. Cost: a copy of the network per step.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from gradfaith.models.classifier import Classifier, Spec, build, frozen, noise, zeros_as_noise

Order = Literal["top_down", "bottom_up"]


def cascade(
    classifier: Classifier, orders: Sequence[Order], steps: int, *, seed: int
) -> Iterator[tuple[Order, int, Classifier]]:
    """Order, step from 1, and a classifier of its own; the given one stays as it is."""
    random, modules = _fresh(classifier.spec, seed), in_order(classifier)
    groups = [list(group) for group in np.array_split(np.array(modules, dtype=object), steps)]
    for order in orders:
        towards = groups if order == "bottom_up" else groups[::-1]
        for step in range(1, steps + 1):
            yield order, step, _replaced(classifier, random, list(chain(*towards[:step])))


def in_order(classifier: Classifier) -> list[str]:
    """The modules with something of their own to replace, by name, in the order they begin to run."""
    begun: dict[str, int] = {}

    def begin(name: str, _module: nn.Module, _inputs: object) -> None:
        begun.setdefault(name, len(begun))

    def place(name: str) -> int:  # some hand their weights to the module around them, and never run
        while name not in begun:
            name = name.rpartition(".")[0]
        return begun[name]

    with frozen(classifier), torch.no_grad(), ExitStack() as hooks:
        for name, module in classifier.net.named_modules():
            hooks.callback(module.register_forward_pre_hook(partial(begin, name)).remove)
        classifier(noise(classifier)[:1])
    return sorted((name for name, module in classifier.net.named_modules() if list(_own(module))), key=place)


def _fresh(spec: Spec, seed: int) -> Mapping[str, Tensor]:
    """Every parameter and buffer of a network that was never trained."""
    classifier = build(spec, seed=seed)
    with zeros_as_noise(classifier, seed):
        return {
            _join(name, key): value.detach().clone()
            for name, module in classifier.net.named_modules()
            for key, value in _own(module)
        }


def _replaced(classifier: Classifier, random: Mapping[str, Tensor], modules: Sequence[str]) -> Classifier:
    changed = copy.deepcopy(classifier)
    with torch.no_grad():
        for name in modules:
            for key, value in _own(changed.net.get_submodule(name)):
                value.copy_(random[_join(name, key)])
    return changed


def _own(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False))


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
