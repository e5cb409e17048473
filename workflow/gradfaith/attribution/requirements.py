"""What a network must be for a method to mean anything on it; where it is not, the method is refused with the reason.

    linear_head    after the layer only average pooling and one linear layer: the gradient is the same at every position
                   and for every image. Asked of the numbers, not of the names of modules.
    relu           every nonlinearity is a ReLU: elsewhere guided backpropagation is only the gradient
    rescale        what DeepLift's rescale rule covers: ReLUs, each a module of its own, and no norm that divides by what it sees
    chain          one module after the other, none that joins branches: relevance has one way back
    attention      every block attends among the same tokens, and the head reads the class token or the patches' mean

Cost: at most a forward and a short backward of four images.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from gradfaith.attribution import attention
from gradfaith.attribution.contract import Trait
from gradfaith.attribution.taps import tapped
from gradfaith.errors import MethodUndefined
from gradfaith.models.classifier import Classifier, frozen, noise, zeros_as_noise

Lack = Callable[[Classifier, str], str | None]  # a network and a layer -> what is missing, in words
Run = tuple[nn.Module, Tensor, Tensor]  # a module, what entered it, what left it
LINKS = (
    nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout,
    nn.Identity, nn.Flatten,
)  # fmt: skip


def check(classifier: Classifier, layer: str, label: str, asked: Sequence[Trait]) -> None:
    """Refuse a method that is not defined here."""
    for trait in asked:
        lack = LACKS[trait](classifier, layer)
        if lack:
            raise MethodUndefined(
                found=f'"{label}" is not defined for {classifier.spec.timm} at layer "{layer}": {lack}.',
                why="What it computes there would be another method under its name, or nothing.",
                then=f"Name under `only:` of {label} the architectures it is for, or leave it out.",
            )


def linear_head(classifier: Classifier, layer: str) -> str | None:
    if any(len(outputs) > 1 for outputs in classifier.spec.class_map):
        return "a class is made of several outputs, and the logarithm of a sum is not linear"
    images = noise(classifier)
    with zeros_as_noise(classifier), tapped(classifier, layer) as tap:
        tap.forward(images)
        gradient = tap.target(torch.zeros(len(images), dtype=torch.long, device=images.device)).gradient
    same = gradient[:1, :, :1, :1]
    constant = bool(((gradient - same).abs() <= 1e-4 * same.abs().amax()).all())
    return None if constant else "more follows the layer than average pooling and one linear layer"


def relu(classifier: Classifier, _layer: str) -> str | None:
    found = {type(module) for module in classifier.net.modules() if _bends(module)}
    others = sorted(kind.__name__ for kind in found - {nn.ReLU})
    if others:
        return f"it bends by {', '.join(others)}, not by ReLU alone"
    return None if found else "it has no ReLU"


def rescale(classifier: Classifier, layer: str) -> str | None:
    lack = relu(classifier, layer)
    if lack:
        return lack
    dividing = {type(module).__name__ for module in classifier.net.modules() if _divides(module)}
    if dividing:
        return f"{', '.join(sorted(dividing))} divides by what it sees"
    runs: dict[nn.Module, int] = {}
    for module, _, _ in _leaves(classifier):
        runs[module] = runs.get(module, 0) + 1
    twice = [type(module).__name__ for module, times in runs.items() if times > 1 and _bends(module)]
    return f"one {twice[0]} module stands in several places" if twice else None


def chain(classifier: Classifier, _layer: str) -> str | None:
    before: Tensor | None = None
    for module, inputs, output in _leaves(classifier, whole=nn.BatchNorm2d):
        stranger = next((part for part in module.modules() if not isinstance(part, LINKS)), None)
        if stranger is not None:
            return f"{type(stranger).__name__} has no relevance rule"
        if before is not None and inputs.data_ptr() != before.data_ptr():
            return f"what enters {type(module).__name__} is not what the module before it gave: branches join"
        before = output
    return None


def _bends(module: nn.Module) -> bool:
    """Activations, and attention, whose softmax is no module of its own."""
    place = type(module).__module__
    return place.startswith(("torch.nn.modules.activation", "timm.layers.activations")) or hasattr(module, "fused_attn")


def _divides(module: nn.Module) -> bool:
    return isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.InstanceNorm2d)


def _leaves(classifier: Classifier, whole: tuple[type[nn.Module], ...] | type[nn.Module] = ()) -> Iterator[Run]:
    """The modules without children in the order they run, what enters and what leaves them, kept alive meanwhile.

    Those that are `whole` are not taken apart: timm puts the activation inside some batch norms.
    """
    found: list[Run] = []
    inside = {part for module in classifier.net.modules() if isinstance(module, whole) for part in module.children()}
    with frozen(classifier), torch.no_grad(), ExitStack() as hooks:
        for module in classifier.net.modules():
            if module not in inside and (isinstance(module, whole) or not any(module.children())):
                hook = module.register_forward_hook(
                    lambda module, inputs, output: found.append((module, inputs[0], output))
                )
                hooks.callback(hook.remove)
        classifier(noise(classifier)[:1])
    yield from found


LACKS: Mapping[Trait, Lack] = {
    "linear_head": linear_head, "relu": relu, "rescale": rescale, "chain": chain,
    "attention": lambda classifier, _layer: attention.lack(classifier),
}  # fmt: skip
