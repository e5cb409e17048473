"""Make a trained classifier faster, with slightly larger rounding errors: channels-last memory, folded batch norms, bfloat16.

    y = gamma (W x + b - mean) / s + beta = (gamma W / s) x + gamma (b - mean) / s + beta,   s = sqrt(var + eps)

The first two are chosen by timm module and kind of device from the table below, which `benchmarks/passes.py` measured. So a
number does not depend on the speed of a machine. At its start, a job verifies that logits change by less than
LARGEST_LOGIT_CHANGE; otherwise the network stays unchanged. A study can also set each of them to true or false.
bfloat16 is used only if a study sets it. The stamp of every map states what was done.

Folding follows the data, not names: a batch norm whose input is the tensor that a convolution has just returned is folded
into that convolution, in double precision. A convolution that is a tapped layer is not changed, so maps are read from the
layer that the study names. The remaining part of a norm (timm's contain an activation) keeps the norm's name, so layer names
stay valid. Images and scores stay in single precision.
"""

import copy
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from gradfaith.config.sections import Passes
from gradfaith.errors import ModelUnusable
from gradfaith.models.classifier import Classifier, PassesUsed, probe_images
from gradfaith.models.layers import freeze_temporarily

LARGEST_LOGIT_CHANGE = 1e-5  # as a share of the largest logit
LARGEST_REQUESTED_CHANGE = 1e-3  # the same, if a study sets the option itself
# Kind of device -> timm modules; other devices and modules have plain passes. See benchmarks/passes.py.
CHANNELS_LAST: Mapping[str, frozenset[str]] = {
    "cpu": frozenset(
        """
        byoanet byobnet cpubone cspnet cspnext densenet dla dpn efficientformer efficientnet efficientvim
        efficientvit_mit efficientvit_msra fasternet fastvit ghostnet hardcorenas hgnet hrnet iformer
        inception_resnet_v2 inception_v3 inception_v4 lcnetv2 lowformer maxxvit metaformer mobilenetv3 mobilevit
        nasnet nextvit nfnet pnasnet regnet repghost res2net resnet resnetv2 rexnet senet shvit starnet
        swiftformer tiny_vit tnt tresnet vgg vision_transformer_hybrid vovnet xception xception_aligned xcit
        """.split()  # noqa: SIM905 - as a list it is 50 lines
    )
}
FOLDED: Mapping[str, frozenset[str]] = {
    "cpu": frozenset(
        """
        byoanet byobnet cpubone cspnet cspnext densenet dla dpn efficientformer efficientformer_v2 efficientnet
        efficientvim efficientvit_mit efficientvit_msra fasternet fastvit ghostnet hardcorenas hgnet hrnet
        iformer inception_resnet_v2 inception_v3 inception_v4 lcnetv2 lowformer maxxvit mobilenetv3 mobilevit
        nextvit pnasnet regnet repghost repvit res2net resnet resnetv2 rexnet senet shvit starnet swiftformer
        tiny_vit tresnet vovnet xception xception_aligned
        """.split()  # noqa: SIM905 - as a list it is 50 lines
    )
}
# In training only convolutional families: torch 2.13 crashes with a segmentation fault when it trains `fastvit` in channels_last.
TRAINING_CHANNELS_LAST: Mapping[str, frozenset[str]] = {
    "cpu": frozenset(
        """
        byobnet cspnet densenet dla efficientnet hardcorenas hgnet hrnet inception_resnet_v2 inception_v3
        mobilenetv3 regnet res2net resnet resnetv2 rexnet senet vovnet xception xception_aligned
        """.split()  # noqa: SIM905 - as a list it is 50 lines
    )
}


def prepare_for_speed(classifier: Classifier, requested: Passes, tapped: Collection[str] = ()) -> Classifier:
    """Return a faster copy of `classifier`, which must not be trained; the classifier itself if nothing is changed.

    `passes` of the result states how it computes, and why it is plain although the table lists the network.
    `tapped`: paths of the layers whose outputs are read; these equal the outputs of `classifier`, up to rounding.
    """
    channels_last = _decide(classifier, requested.channels_last, CHANNELS_LAST)
    fold = _decide(classifier, requested.fold_batch_norm, FOLDED)
    fast, passes = classifier, PassesUsed(requested.precision, channels_last, fold)
    if channels_last or fold:
        layout = {"channels_last": channels_last, "fold_batch_norm": fold}
        fast = change_layout(copy.deepcopy(classifier), **layout, tapped=tapped)
        change, asked = _logit_change(classifier, fast), True in (requested.channels_last, requested.fold_batch_norm)
        if not change <= (LARGEST_REQUESTED_CHANGE if asked else LARGEST_LOGIT_CHANGE):
            if asked:
                raise _answers_otherwise(classifier, passes, change)
            left_out = f"{passes} would change logits by {change:.0e} of the largest"
            fast, passes = classifier, PassesUsed(requested.precision, left_out=left_out)
    if passes.precision == "bf16":
        fast = _in_bfloat16(copy.deepcopy(classifier) if fast is classifier else fast)
    if passes != fast.passes:
        fast = copy.copy(fast) if fast is classifier else fast
        fast.passes = passes
    return fast


def prepare_for_job(classifier: Classifier, requested: Passes, tapped: Collection[str] = ()) -> Classifier:
    """Prepare the network of a job for speed, and write to its log how it computes."""
    fast = prepare_for_speed(classifier, requested, tapped)
    print(f"passes: {fast.passes}", flush=True)  # noqa: T201 - a job's standard output is its log
    return fast


def _decide(classifier: Classifier, requested: bool | Literal["auto"], table: Mapping[str, frozenset[str]]) -> bool:
    """Return the study's setting, or else the table's for the network's timm module on this kind of device."""
    module = type(classifier.net).__module__.rpartition(".")[2]
    return module in table.get(classifier.mean.device.type, ()) if requested == "auto" else requested


def trains_in_channels_last(classifier: Classifier, requested: bool | Literal["auto"]) -> bool:
    """Return whether a network is trained in channels_last memory: the recipe's setting, or else the table's."""
    return _decide(classifier, requested, TRAINING_CHANNELS_LAST)


def change_layout(
    classifier: Classifier, *, channels_last: bool, fold_batch_norm: bool, tapped: Collection[str] = ()
) -> Classifier:
    """Fold batch norms and change the order of memory, in place; return the classifier."""
    if fold_batch_norm:
        _fold_batch_norms(classifier, tapped)
    if channels_last:
        classifier.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        classifier.net.register_forward_pre_hook(
            lambda _net, inputs: (inputs[0].contiguous(memory_format=torch.channels_last), *inputs[1:])
        )
    return classifier


def _in_bfloat16(classifier: Classifier) -> Classifier:
    classifier.net.to(dtype=torch.bfloat16)
    classifier.net.register_forward_pre_hook(lambda _net, inputs: (inputs[0].to(dtype=torch.bfloat16), *inputs[1:]))
    classifier.net.register_forward_hook(lambda _net, _inputs, logits: logits.float())
    return classifier


def _logit_change(before: Classifier, after: Classifier) -> float:
    """Return the largest change of a logit on some images, as a share of the largest logit."""
    images = probe_images(before)
    with freeze_temporarily(before), freeze_temporarily(after), torch.no_grad():
        logits = before(images)
        change = (after(images) - logits).abs().amax()
    return float(change / logits.abs().amax().clamp(min=torch.finfo(logits.dtype).tiny))


def _answers_otherwise(classifier: Classifier, passes: PassesUsed, change: float) -> ModelUnusable:
    return ModelUnusable(
        problem=f"with {passes}, the logits of {classifier.spec.name} change by up to {change:.1e} of the largest logit.",
        reason="This is more than rounding should change, so the maps would be those of another network.",
        fix="Set `inference.fold_batch_norm` and `inference.channels_last` to `auto` in the study.",
    )


class FoldablePair(NamedTuple):
    """A batch norm, its path in the network, and the convolution whose output it reads."""

    norm_path: str
    conv: nn.Conv2d
    norm: nn.BatchNorm2d


def _fold_batch_norms(classifier: Classifier, tapped: Collection[str]) -> None:
    images = probe_images(classifier)
    with freeze_temporarily(classifier), torch.no_grad():
        for pair in _foldable_pairs(classifier, images, tapped):
            _fold_into_convolution(pair.conv, pair.norm)
            parent, _, last = pair.norm_path.rpartition(".")
            setattr(classifier.net.get_submodule(parent), last, _what_follows_normalising(pair.norm))


def _foldable_pairs(classifier: Classifier, images: Tensor, tapped: Collection[str]) -> list[FoldablePair]:
    """Return batch norms, by name, with the convolution whose output only they read and that is not a tapped layer."""
    kept: list[object] = []  # outputs of tapped layers
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # keeps the tensors, so that no address is used twice
    pairs: dict[str, FoldablePair] = {}
    with ExitStack() as hooks:
        for layer in tapped:
            hook = classifier.net.get_submodule(layer).register_forward_hook(lambda *call: kept.append(call[2]))
            hooks.callback(hook.remove)
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
    read = {id(conv) for conv, output in outputs.values() if any(output is other for other in kept)}
    return [pair for pair in pairs.values() if convs.count(pair.conv) == 1 and id(pair.conv) not in read]


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
    """Return the values in double precision on the CPU, because not every device has it."""
    return values.detach().cpu().double()


def _what_follows_normalising(norm: nn.BatchNorm2d) -> nn.Module:
    """Return the part of a norm after normalising: nothing, or timm's dropout and activation."""
    modules = [module for name in ("drop", "act") if isinstance(module := getattr(norm, name, None), nn.Module)]
    return nn.Sequential(*modules).eval() if modules else nn.Identity()
