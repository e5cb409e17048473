"""Layer-wise relevance propagation: the score, propagated back layer by layer to the input.

    R_i = sum_j a_i w_ij R_j / z_j,    z_j = sum_i a_i w_ij + b_j                           [bach2015]

    linear layers         z_j + sign(z_j) * epsilon * rms(z): stabilises small sums
    convolutions          gamma: terms that raise z_j count (1 + gamma) times, in numerator and denominator [montavon2019]
    maximum, mean pools   to the maximum; in proportion

With gamma = 0 and a small epsilon this equals (x - mean) times the gradient on any chain of ReLUs; gamma makes it a separate
method. A batch norm is folded into the convolution before it. Relevance is read at the normalised input of the first layer,
and summed over channels. Signed. Biases absorb relevance: the diagnostic `kept` is the share that arrives. It is refused
if branches join, because the rules do not define how to divide relevance between them. captum's version leaves `activations` on
every module and stops at nn.Identity and nn.Flatten, so this is our own, tested against it. Cost: a forward, about two backwards.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from gradfaith.attribution.contract import ImageInputs, MapsWithDiagnostics, Method

METHOD = Method(
    needs=("image",),
    grid="input",
    signed=True,
    requires=("chain",),
    forwards=1,
    backwards=2,
    cite="bach2015",
    differs="gamma rule for all convolutions, epsilon as a share of the layer's rms, batch norms folded",
    limits=("epsilon >= 0", "gamma >= 0"),
)
NO_NORM: nn.Module = nn.Identity()
Link = tuple[nn.Module, Tensor]  # a layer of the chain, and its input
SAME = (nn.BatchNorm2d, nn.Identity, nn.Dropout)  # allowed between a convolution and its ReLU
Apply = Callable[[Tensor], Tensor]


def attribute(inputs: ImageInputs, *, epsilon: float = 1e-6, gamma: float = 0.25) -> MapsWithDiagnostics:
    links, given = _chain(inputs)
    relevance, norm = given, NO_NORM
    for place, (layer, entered) in reversed(list(enumerate(links))):
        if isinstance(layer, nn.BatchNorm2d) and place and isinstance(links[place - 1][0], nn.Conv2d):
            norm = layer
        elif isinstance(layer, nn.Conv2d):
            through = _through_bent if _is_bent(links, place) and not (entered < 0).any() else _through_conv
            relevance, norm = through(layer, norm, entered, relevance, epsilon, gamma), NO_NORM
        elif isinstance(layer, nn.MaxPool2d):
            relevance = _slope(layer, entered, relevance)
        elif isinstance(layer, nn.Linear | nn.BatchNorm2d):
            apply = _affine(layer)
            relevance = entered * _slope(apply, entered, relevance / _steady(apply(entered), epsilon))
        elif isinstance(layer, nn.AvgPool2d | nn.AdaptiveAvgPool2d):
            relevance = entered * _slope(layer, entered, relevance / _steady(layer(entered), 0.0))
        else:  # passes its input on, possibly in another shape
            relevance = relevance.reshape(entered.shape)
    maps = relevance.to(inputs.images).sum(dim=1)
    return MapsWithDiagnostics(maps, {"kept": maps.sum(dim=(1, 2)) / given.sum(dim=1)})


def _chain(inputs: ImageInputs) -> tuple[list[Link], Tensor]:
    """Return the layers in order, and the relevance of the last one's outputs: output times gradient of the score."""
    links: list[Link] = []
    outputs: list[Tensor] = []

    def enter(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        links.append((layer, inputs[0].detach()))

    def leave(_layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs[:] = [output]

    with ExitStack() as hooks, torch.enable_grad():
        for layer in inputs.network.modules():
            if isinstance(layer, nn.BatchNorm2d) or not any(layer.children()):  # a norm may contain its activation
                hooks.callback(layer.register_forward_pre_hook(enter).remove)
                hooks.callback(layer.register_forward_hook(leave).remove)
        scores = inputs.network(inputs.images.detach().requires_grad_()).gather(1, inputs.target[:, None])
        (slope,) = torch.autograd.grad(scores.sum(), outputs)
    return links, outputs[0].detach() * slope


def _is_bent(links: list[Link], place: int) -> bool:
    """Return whether a ReLU follows; then positions with z < 0 have no relevance."""
    following = (layer for layer, _ in links[place + 1 :])
    return isinstance(next((layer for layer in following if not isinstance(layer, SAME)), None), nn.ReLU)


def _through_bent(
    conv: nn.Conv2d, norm: nn.Module, entered: Tensor, relevance: Tensor, epsilon: float, gamma: float
) -> Tensor:
    """Apply the rule for a >= 0 and z >= 0 wherever there is relevance: a (w + gamma w+) s, with two convolutions."""
    weight = _weight(conv, norm)
    bias = conv.weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach()
    offset = _affine(norm)(bias[:, None, None][None])
    apply = partial(_bare, conv, _over(weight).mul_(gamma).add_(weight))
    entered = entered.detach().requires_grad_()
    with torch.enable_grad():
        summed = apply(entered)
    share = relevance / _steady(summed.detach() + offset.detach(), epsilon)
    (slope,) = torch.autograd.grad(summed, entered, share)
    return entered.detach() * slope


def _through_conv(
    conv: nn.Conv2d, norm: nn.Module, entered: Tensor, relevance: Tensor, epsilon: float, gamma: float
) -> Tensor:
    """Apply the rule a w s + gamma (a+ w+ + a- w-) s, with s = R / (z + gamma z+) and z+ the sum of terms that raise z."""
    weight = _weight(conv, norm)
    halves = [(half(entered), half(weight)) for half in (_over, _under)] if gamma else []
    halves = [(a, w) for a, w in halves if a.any()]  # the output of a ReLU has no negative half
    entering = [entered.detach().requires_grad_(), *(a.requires_grad_() for a, _ in halves)]
    with torch.enable_grad():  # one graph for the sums and for their backward pass
        sums = [_affine(norm)(conv(entering[0])), *(_bare(conv, w, a) for a, w in halves)]
    z, *parts = (summed.detach() for summed in sums)
    enlarged = gamma * (z > 0).to(z)
    share = relevance / _steady(z + enlarged * sum(parts), epsilon)
    slopes = torch.autograd.grad(sums, entering, [share, *(enlarged * share for _ in halves)])
    handed = [a.detach() * slope for a, slope in zip(entering, slopes, strict=True)]
    return torch.stack(handed).sum(dim=0)


def _bare(conv: nn.Conv2d, weight: Tensor, entered: Tensor) -> Tensor:
    """Apply the convolution with other weights and without bias."""
    summed: Tensor = conv._conv_forward(entered, weight, None)
    return summed


def _affine(layer: nn.Module) -> Apply:
    """Return the layer without the activation that timm puts inside some batch norms."""
    if not isinstance(layer, nn.BatchNorm2d):
        return layer
    known = (layer.running_mean, layer.running_var, layer.weight, layer.bias)
    return lambda a: batch_norm(a, *known, training=layer.running_mean is None, eps=layer.eps)


def _weight(conv: nn.Conv2d, norm: nn.Module) -> Tensor:
    """Return the weights times the batch norm's factor for each channel."""
    weight = conv.weight.detach()
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_var is None:
        return weight
    gain = (norm.running_var + norm.eps).rsqrt() * (norm.weight.detach() if norm.affine else 1)
    return weight * gain[:, None, None, None]


def _slope(apply: Apply, entered: Tensor, share: Tensor) -> Tensor:
    with torch.enable_grad():
        entered = entered.detach().requires_grad_()
        (slope,) = torch.autograd.grad(apply(entered), entered, share)
    return slope


def _steady(z: Tensor, epsilon: float) -> Tensor:
    """Return z, moved away from 0 by a share of its image's rms."""
    rms = z.flatten(1).square().mean(dim=1).sqrt().reshape(-1, *[1] * (z.ndim - 1))
    nudge = epsilon * rms + torch.finfo(z.dtype).tiny
    return torch.where(z < 0, z - nudge, z + nudge)


def _over(values: Tensor) -> Tensor:
    return values.clamp(min=0)


def _under(values: Tensor) -> Tensor:
    return values.clamp(max=0)
