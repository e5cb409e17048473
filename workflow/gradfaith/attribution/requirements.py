"""Check the properties that a method requires of a network, and raise an error if one is missing.

    linear_head    only average pooling and one linear layer follow the layer: the gradient is the same at every
                   position and for every image. Checked by its values, not by the names of modules.
    relu           every nonlinearity is a ReLU: with others, guided backpropagation equals the gradient
    rescale        covered by DeepLIFT's rescale rule: ReLUs, each a separate module, and no norm that divides by its
                   input's own statistics
    single_use     every module for which captum has a rule runs once in a forward pass: its hooks read the last run
    chain          a sequence of modules without joining branches: relevance has one way back
    attention      every block attends among the same tokens; the head reads the class token or the patches' mean

Cost: at most a forward and a short backward of four images.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gradfaith.attribution.contract import RULED_MODULES, Trait, load_need
from gradfaith.attribution.taps import tap_layers
from gradfaith.config import method_uses
from gradfaith.config.job_settings import MethodSettings
from gradfaith.errors import MethodUndefined
from gradfaith.models.classifier import Classifier, probe_images
from gradfaith.models.layers import freeze_temporarily, replace_zero_weights

TraitCheck = Callable[[Classifier, str], str | None]  # a network and a layer -> the missing property as text, or None
CHAIN_LAYERS = (
    nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout,
    nn.Identity, nn.Flatten,
)  # fmt: skip


class ModuleRun(NamedTuple):
    """One run of a module in a forward pass."""

    module: nn.Module
    entering: Tensor
    output: Tensor


def require_traits(classifier: Classifier, layer: str, label: str, traits: Sequence[Trait]) -> None:
    """Raise `MethodUndefined` for the method `label` if the network lacks one of these traits at the layer."""
    for trait in traits:
        missing = TRAIT_CHECKS[trait](classifier, layer)
        if missing:
            raise MethodUndefined(
                problem=f'"{label}" is not defined for {classifier.spec.name} at layer "{layer}": {missing}.',
                reason="At this layer the formula of the method has no meaning, or gives the map of another method.",
                fix=f"Remove {label} from the study, or list the other architectures under its `only:`.",
            )


def require_answers_only(classifier: Classifier, label: str, how: MethodSettings) -> None:
    """Raise `MethodUndefined` if a method needs more of a network than its answers; a black box has no more."""
    if how.group == "methods" and how.use not in (working := method_uses.methods_of_answers()):
        raise MethodUndefined(
            problem=f'"{label}" is not defined for the black box "{classifier.spec.name}": it needs gradients or layers.',
            reason="Such a network gives answers only.",
            fix=f"Use one of {', '.join(working)}, or list the other architectures under `only:` of {label}.",
        )


def check_linear_head(classifier: Classifier, layer: str) -> str | None:
    """Return why the head after the layer is not linear, or None if it is."""
    if any(len(outputs) != 1 for outputs in classifier.spec.class_map):
        return "a class combines several outputs or has none, and the logarithm of a sum is not linear"
    images = probe_images(classifier)
    with replace_zero_weights(classifier), tap_layers(classifier, layer) as tap:
        tap.forward(images)
        gradient = tap.single_tap(torch.zeros(len(images), dtype=torch.long, device=images.device)).gradient
    same = gradient[:1, :, :1, :1]
    constant = bool(((gradient - same).abs() <= 1e-4 * same.abs().amax()).all())
    return None if constant else "other modules than average pooling and one linear layer follow this layer"


def check_relu(classifier: Classifier, _layer: str) -> str | None:
    """Return which other nonlinearities the network has, or None if it has ReLUs only."""
    found = {type(module) for module in classifier.net.modules() if _is_nonlinear(module)}
    others = sorted(kind.__name__ for kind in found - {nn.ReLU})
    if others:
        return f"its nonlinearities include {', '.join(others)}, not only ReLU"
    return None if found else "it has no ReLU"


def check_rescale(classifier: Classifier, layer: str) -> str | None:
    """Return why DeepLIFT's rescale rule does not cover the network, or None if it does."""
    missing = check_relu(classifier, layer)
    if missing:
        return missing
    dividing = {type(module).__name__ for module in classifier.net.modules() if _is_normalising(module)}
    if dividing:
        return f"{', '.join(sorted(dividing))} divides by statistics of its own input"
    return _find_reused(classifier, _is_nonlinear)


def check_single_use(classifier: Classifier, _layer: str) -> str | None:
    """Return which module with a rule of captum's runs more than once, or None."""
    return _find_reused(classifier, lambda module: isinstance(module, RULED_MODULES))


def _find_reused(classifier: Classifier, counts: Callable[[nn.Module], bool]) -> str | None:
    times_run: dict[nn.Module, int] = {}
    for run in _run_leaves(classifier):
        times_run[run.module] = times_run.get(run.module, 0) + 1
    twice = [type(module).__name__ for module, times in times_run.items() if times > 1 and counts(module)]
    return f"one {twice[0]} module is used in several places" if twice else None


def check_chain(classifier: Classifier, _layer: str) -> str | None:
    """Return why the network is not a chain of known modules, or None if it is one."""
    before: Tensor | None = None
    for module, entering, output in _run_leaves(classifier, whole=nn.BatchNorm2d):
        unknown = next((part for part in module.modules() if not isinstance(part, CHAIN_LAYERS)), None)
        if unknown is not None:
            return f"{type(unknown).__name__} has no relevance rule"
        if before is not None and entering.data_ptr() != before.data_ptr():
            return f"the input of {type(module).__name__} is not the output of the module before it: branches join"
        before = output
    return None


def _is_nonlinear(module: nn.Module) -> bool:
    """Return whether a module is an activation, or an attention, whose softmax is not a separate module."""
    defined_in = type(module).__module__
    return defined_in.startswith(("torch.nn.modules.activation", "timm.layers.activations")) or hasattr(
        module, "fused_attn"
    )


def _is_normalising(module: nn.Module) -> bool:
    return isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.InstanceNorm2d)


def _run_leaves(
    classifier: Classifier, whole: tuple[type[nn.Module], ...] | type[nn.Module] = ()
) -> Iterator[ModuleRun]:
    """Yield the runs of modules without children, in order; their tensors stay in memory until the last one is read.

    Modules of the classes in `whole` count as one module, because timm puts the activation inside some batch norms.
    """
    runs: list[ModuleRun] = []
    inside = {part for module in classifier.net.modules() if isinstance(module, whole) for part in module.children()}
    with freeze_temporarily(classifier), torch.no_grad(), ExitStack() as hooks:
        for module in classifier.net.modules():
            if module not in inside and (isinstance(module, whole) or not any(module.children())):
                hook = module.register_forward_hook(
                    lambda module, inputs, output: runs.append(ModuleRun(module, inputs[0], output))
                )
                hooks.callback(hook.remove)
        classifier(probe_images(classifier)[:1])
    yield from runs


TRAIT_CHECKS: Mapping[Trait, TraitCheck] = {
    "linear_head": check_linear_head, "relu": check_relu, "rescale": check_rescale, "single_use": check_single_use,
    "chain": check_chain,
    "attention": lambda classifier, _layer: load_need("attention").check_attention(classifier),
}  # fmt: skip
