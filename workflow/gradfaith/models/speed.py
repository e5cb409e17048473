"""Make a trained classifier faster, at the price of more rounding: bfloat16, channels-last memory, folded batch norms.

    y = gamma (W x + b - mean) / s + beta = (gamma W / s) x + gamma (b - mean) / s + beta,   s = sqrt(var + eps)

All are off by default and are part of the stamp of every map made with them. Folding goes by what runs, not by names:
a batch norm whose input is the tensor that a convolution has just returned is folded into that convolution, in double
precision, and the folded network must have the logits of the unfolded one. What is left of a norm (timm's contain an
activation) keeps the norm's name, so layer names stay valid. Images and scores stay in single precision.
"""

from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gradfaith.config.sections import Passes
from gradfaith.errors import ModelUnusable
from gradfaith.models.classifier import Classifier, freeze_temporarily, probe_images

LARGEST_LOGIT_CHANGE = 1e-3  # largest change of a logit by folding, as a share of the largest logit


def prepare_for_speed(classifier: Classifier, passes: Passes) -> Classifier:
    """Change `classifier` in place as the study's settings say, and return it; it must not be trained afterwards."""
    if passes.fold_batch_norm:
        _fold_batch_norms(classifier)
    layout = torch.channels_last if passes.channels_last else torch.preserve_format
    dtype = {"float32": torch.float32, "bf16": torch.bfloat16}[passes.precision]
    if dtype is torch.bfloat16 or layout is torch.channels_last:
        classifier.net.to(dtype=dtype, memory_format=layout)  # type: ignore[call-overload]
        classifier.net.register_forward_pre_hook(
            lambda _net, inputs: (inputs[0].to(dtype=dtype, memory_format=layout), *inputs[1:])
        )
        classifier.net.register_forward_hook(lambda _net, _inputs, logits: logits.float())
    return classifier


class FoldablePair(NamedTuple):
    """A batch norm, its path in the network, and the convolution whose output it reads."""

    norm_path: str
    conv: nn.Conv2d
    norm: nn.BatchNorm2d


def _fold_batch_norms(classifier: Classifier) -> None:
    images = probe_images(classifier)
    with freeze_temporarily(classifier), torch.no_grad():
        before = classifier(images)
        for pair in _foldable_pairs(classifier, images):
            _fold_into_convolution(pair.conv, pair.norm)
            parent, _, last = pair.norm_path.rpartition(".")
            setattr(classifier.net.get_submodule(parent), last, _what_follows_normalising(pair.norm))
        change = (classifier(images) - before).abs().amax() / before.abs().amax()
    if change > LARGEST_LOGIT_CHANGE:
        raise ModelUnusable(
            problem=f"{classifier.spec.timm} with folded batch norms answers otherwise, by {float(change):.1e} of its largest logit.",
            reason="A norm can be folded only into a convolution that nothing else reads.",
            fix="Set `explain.fold_batch_norm: false`.",
        )


def _foldable_pairs(classifier: Classifier, images: Tensor) -> list[FoldablePair]:
    """Return batch norms, by name, with the convolution whose output only they read."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # holds the tensors, so that no address is used twice
    pairs: dict[str, FoldablePair] = {}
    with ExitStack() as hooks:
        for name, module in classifier.net.named_modules():
            if isinstance(module, nn.Conv2d):

                def record_output(module: nn.Module, _inputs: object, output: Tensor) -> None:
                    assert isinstance(module, nn.Conv2d)
                    outputs[id(output)] = (module, output)

                hooks.callback(module.register_forward_hook(record_output).remove)
            elif isinstance(module, nn.BatchNorm2d):

                def find_convolution(module: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                    assert isinstance(module, nn.BatchNorm2d)
                    if id(inputs[0]) in outputs and module.track_running_stats:
                        pairs[name] = FoldablePair(name, outputs[id(inputs[0])][0], module)

                hooks.callback(module.register_forward_pre_hook(find_convolution).remove)
        classifier(images[:1])
    convs = [pair.conv for pair in pairs.values()]
    return [pair for pair in pairs.values() if convs.count(pair.conv) == 1]


def _fold_into_convolution(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = (_double_on_cpu(norm.running_var) + norm.eps).rsqrt() * (_double_on_cpu(norm.weight) if norm.affine else 1)
    bias = _double_on_cpu(conv.bias) if conv.bias is not None else torch.zeros_like(gain)
    shift = gain * (bias - _double_on_cpu(norm.running_mean)) + (_double_on_cpu(norm.bias) if norm.affine else 0)
    weight = _double_on_cpu(conv.weight) * gain[:, None, None, None]
    conv.weight.copy_(weight.to(conv.weight.dtype))
    conv.bias = nn.Parameter(shift.to(conv.weight.dtype).to(conv.weight.device), requires_grad=False)


def _double_on_cpu(values: Tensor) -> Tensor:
    """Return the values in double precision, on the CPU: not every device has it."""
    return values.detach().cpu().double()


def _what_follows_normalising(norm: nn.BatchNorm2d) -> nn.Module:
    """Return what a norm does besides normalising: nothing, or timm's dropout and activation."""
    modules = [module for name in ("drop", "act") if isinstance(module := getattr(norm, name, None), nn.Module)]
    return nn.Sequential(*modules).eval() if modules else nn.Identity()
