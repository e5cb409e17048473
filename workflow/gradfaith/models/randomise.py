"""Randomise a classifier in steps: replace its weights by random ones, module by module, from the head or the input.

    top_down    step k of n: the k groups of modules nearest to the head are random        the cascade of [adebayo2018]
    bottom_up   step k of n: the k groups nearest to the image

The modules are those with parameters or buffers of their own, in the order they begin to run, cut into n nearly equal
groups. They are replaced by the modules of an untrained network of the same architecture with another seed, including
batch-norm statistics. After the last step of both orders the network is that untrained one.

Parameters that are exactly zero in an untrained network (biases, a residual branch's last norm, some heads) are replaced by
small noise, because otherwise there would be no gradient. The normalisation statistics of an untrained network are arbitrary,
so logits of deep networks may be large or constant: such maps are labelled, not hidden. Cost: a network copy per step.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gradfaith.errors import ModelUnusable
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier, probe_images
from gradfaith.models.layers import freeze_temporarily, is_black_box, replace_zero_weights
from gradfaith.vocabulary import CascadeOrder


class RandomisedClassifier(NamedTuple):
    """One step of the randomisation. Steps count from 1; in step k, k groups of modules are random."""

    order: CascadeOrder
    step: int
    classifier: Classifier


def randomise_in_steps(
    classifier: Classifier, orders: Sequence[CascadeOrder], steps: int, *, seed: int
) -> Iterator[RandomisedClassifier]:
    """Yield a randomised copy of `classifier` for every order and step; `seed` decides the random weights."""
    if is_black_box(classifier.net):
        raise ModelUnusable(
            problem=f"the weights of {classifier.spec.name} cannot be randomised: it is a black box.",
            reason="Such a network gives answers only; its weights cannot be changed.",
            fix="Remove `randomisation:` from the study, or measure this network in a study of its own.",
        )
    random_tensors, modules = _untrained_tensors(classifier.spec, seed), modules_in_running_order(classifier)
    groups = [list(group) for group in np.array_split(np.array(modules, dtype=object), steps)]
    for order in orders:
        ordered = groups if order == "bottom_up" else groups[::-1]
        for step in range(1, steps + 1):
            randomised = _with_random_modules(classifier, random_tensors, list(chain(*ordered[:step])))
            yield RandomisedClassifier(order, step, randomised)


def modules_in_running_order(classifier: Classifier) -> list[str]:
    """Return the names of modules with parameters or buffers of their own, in the order they begin to run."""
    start_rank: dict[str, int] = {}

    def record_start(name: str, _module: nn.Module, _inputs: object) -> None:
        start_rank.setdefault(name, len(start_rank))

    def rank(name: str) -> int:  # a module whose parent uses its weights directly never runs: the parent's rank
        while name not in start_rank:
            name = name.rpartition(".")[0]
        return start_rank[name]

    with freeze_temporarily(classifier), torch.no_grad(), ExitStack() as hooks:
        for name, module in classifier.net.named_modules():
            hooks.callback(module.register_forward_pre_hook(partial(record_start, name)).remove)
        classifier(probe_images(classifier)[:1])
    return sorted((name for name, module in classifier.net.named_modules() if list(_own_tensors(module))), key=rank)


def _untrained_tensors(spec: ClassifierSpec, seed: int) -> Mapping[str, Tensor]:
    """Return every parameter and buffer of an untrained network, by name."""
    classifier = build_classifier(spec, seed=seed)
    with replace_zero_weights(classifier, seed):
        return {
            _tensor_name(name, key): value.detach().clone()
            for name, module in classifier.net.named_modules()
            for key, value in _own_tensors(module)
        }


def _with_random_modules(
    classifier: Classifier, random_tensors: Mapping[str, Tensor], modules: Sequence[str]
) -> Classifier:
    changed = copy.deepcopy(classifier)
    with torch.no_grad():
        for name in modules:
            for key, value in _own_tensors(changed.net.get_submodule(name)):
                value.copy_(random_tensors[_tensor_name(name, key)])
    return changed


def _own_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False))


def _tensor_name(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
