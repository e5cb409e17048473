"""A classifier that computes faster, and rounds more: bfloat16, another order of memory, batch norms folded away.

    y = gamma (W x + b - mean) / sqrt(var + eps) + beta   =   (gamma W / s) x + gamma (b - mean) / s + beta,   s = sqrt(var + eps)

All are off by default and stand in the stamp of every map made with them. Folding is by what runs, not by names: a batch
norm whose input is the very tensor a convolution has just returned is folded into that convolution, in double precision,
and the folded network must answer as the whole one did. What is left of a norm (timm's carry an activation) stays under
the norm's name, so layers are tapped where they were. Images and scores stay in single precision.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from gradfaith.errors import ModelUnusable
from gradfaith.models.classifier import Classifier, frozen, noise

CLOSE = 1e-3  # largest change of a logit by folding, as a share of the largest logit


def prepared(classifier: Classifier, passes: Mapping[str, Any]) -> Classifier:
    """The same classifier, changed as asked; it is not to be trained any more."""
    if passes["fold_batch_norm"]:
        _fold(classifier)
    layout = torch.channels_last if passes["channels_last"] else torch.preserve_format
    dtype = {"float32": torch.float32, "bf16": torch.bfloat16}[passes["precision"]]
    if dtype is torch.bfloat16 or layout is torch.channels_last:
        classifier.net.to(dtype=dtype, memory_format=layout)  # type: ignore[call-overload]
        classifier.net.register_forward_pre_hook(
            lambda _net, inputs: (inputs[0].to(dtype=dtype, memory_format=layout), *inputs[1:])
        )
        classifier.net.register_forward_hook(lambda _net, _inputs, logits: logits.float())
    return classifier


def _fold(classifier: Classifier) -> None:
    images = noise(classifier)
    with frozen(classifier), torch.no_grad():
        before = classifier(images)
        for name, conv, norm in _pairs(classifier, images):
            _absorb(conv, norm)
            parent, _, last = name.rpartition(".")
            setattr(classifier.net.get_submodule(parent), last, _rest(norm))
        change = (classifier(images) - before).abs().amax() / before.abs().amax()
    if change > CLOSE:
        raise ModelUnusable(
            found=f"{classifier.spec.timm} with folded batch norms answers otherwise, by {float(change):.1e} of its largest logit.",
            why="A norm can be folded only into a convolution that nothing else reads.",
            then="Set `explain.fold_batch_norm: false`.",
        )


def _pairs(classifier: Classifier, images: Tensor) -> list[tuple[str, nn.Conv2d, nn.BatchNorm2d]]:
    """Norms, by name, with the convolution whose output they read."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # tensors are kept, so that no address is used twice
    found: dict[str, tuple[nn.Conv2d, nn.BatchNorm2d]] = {}
    with ExitStack() as hooks:
        for name, module in classifier.net.named_modules():
            if isinstance(module, nn.Conv2d):

                def keep(module: nn.Module, _inputs: object, output: Tensor) -> None:
                    assert isinstance(module, nn.Conv2d)
                    made[id(output)] = (module, output)

                hooks.callback(module.register_forward_hook(keep).remove)
            elif isinstance(module, nn.BatchNorm2d):

                def meet(module: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                    assert isinstance(module, nn.BatchNorm2d)
                    if id(inputs[0]) in made and module.track_running_stats:
                        found[name] = (made[id(inputs[0])][0], module)

                hooks.callback(module.register_forward_pre_hook(meet).remove)
        classifier(images[:1])
    convs = [conv for conv, _ in found.values()]
    return [(name, conv, norm) for name, (conv, norm) in found.items() if convs.count(conv) == 1]


def _absorb(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = (_double(norm.running_var) + norm.eps).rsqrt() * (_double(norm.weight) if norm.affine else 1)
    bias = _double(conv.bias) if conv.bias is not None else torch.zeros_like(gain)
    shift = gain * (bias - _double(norm.running_mean)) + (_double(norm.bias) if norm.affine else 0)
    weight = _double(conv.weight) * gain[:, None, None, None]
    conv.weight.copy_(weight.to(conv.weight.dtype))
    conv.bias = nn.Parameter(shift.to(conv.weight.dtype).to(conv.weight.device), requires_grad=False)


def _double(values: Tensor) -> Tensor:
    """On the CPU: not every device has double precision."""
    return values.detach().cpu().double()


def _rest(norm: nn.BatchNorm2d) -> nn.Module:
    """What a norm does beside normalising: nothing, or timm's dropout and activation."""
    rest = [module for name in ("drop", "act") if isinstance(module := getattr(norm, name, None), nn.Module)]
    return nn.Sequential(*rest).eval() if rest else nn.Identity()
