"""DeepLIFT with the rescale rule: the difference to a baseline, propagated back through each nonlinearity in proportion.

    map = sum_k m_k * (x_k - x'_k)          m: the gradient, but at every                               [shrikumar2017]

    ReLU            m <- m (f(z) - f(z')) / (z - z')
    maximum pool    m <- m (max z - max z') / (z_i - z'_i) at the place i of the larger of both maxima, 0 elsewhere,
                    including timm's global pools, with an average or alone

and the plain gradient where z = z'. Over all pixels the map sums to the score minus that of the baseline, if every
nonlinearity is such a module. The diagnostic `delta` is the missing share of that difference. Above `MAX_DELTA` an image has
no map, and its status is "failed". Signed; channels are summed. Cost: a forward and a backward of the image and of the baseline.

This is our own, because captum's DeepLift is wrong where maximum pools overlap. Minimal case: ReLU, then MaxPool2d(3, 2, 1), as
in the stem of every ResNet (tests/cross/test_captum_rules.py). A pixel can be the maximum of several windows, and captum's
max_unpool2d keeps the share of one of them. It also reads the gradient of a ReLU before the rule of the pool that follows,
and has no rule for global maximum pools. Elsewhere both agree.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import max_pool2d

from gradfaith.attribution.contract import ImageInputs, MapsWithDiagnostics, Method
from gradfaith.attribution.support.captum_adapter import baseline_images as baseline_of

ForwardRule = Callable[[Tensor], Tensor]
MAX_DELTA = 0.05
# Global pools: their output from the grid's average and maximum.
GLOBAL_POOLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "AdaptiveMaxPool2d": lambda _average, top: top,
    "AdaptiveAvgMaxPool2d": lambda average, top: (average + top) / 2,
    "AdaptiveCatAvgMaxPool2d": lambda average, top: torch.cat([average, top], dim=1),
}
METHOD = Method(
    needs=("image",),
    grid="input",
    signed=True,
    requires=("rescale",),
    forwards=2,
    backwards=2,
    scores=("logit",),  # no rule propagates a log-sum or a maximum over classes
    cite="shrikumar2017",
    differs="no map where more than 5 % of the difference of scores is missing",
)


def attribute(inputs: ImageInputs, *, baseline: Literal["black", "mean", "blur"] = "black") -> MapsWithDiagnostics:
    start, count = baseline_of(inputs, baseline), len(inputs.images)
    with replace_forwards(inputs.network, _rules(inputs.network)), torch.enable_grad():
        both = torch.cat([inputs.images, start]).requires_grad_()
        scores = inputs.network(both).gather(1, inputs.target.repeat(2)[:, None])[:, 0]
        (found,) = torch.autograd.grad(scores[:count].sum(), both)
    maps = ((inputs.images - start) * found[:count]).sum(dim=1)
    gained = (scores[:count] - scores[count:]).detach()
    delta = (maps.sum(dim=(1, 2)) - gained).abs() / gained.abs()
    return MapsWithDiagnostics(maps.masked_fill(~(delta <= MAX_DELTA)[:, None, None], torch.nan), {"delta": delta})


def _rules(network: nn.Module) -> dict[type[nn.Module], Callable[..., ForwardRule]]:
    """Return the rules by class; timm's classes are found by name, because this file does not import timm."""
    overall = {type(module): _overall for module in network.modules() if type(module).__name__ in GLOBAL_POOLS}
    return {nn.ReLU: lambda _relu: _Rescaled.apply, nn.MaxPool2d: _pool, **overall}


def _pool(pool: nn.MaxPool2d) -> ForwardRule:
    def rule(entering: Tensor) -> Tensor:
        pooled: Tensor = _RescaledPool.apply(entering, pool)  # type: ignore[no-untyped-call]
        return pooled

    return rule


def _overall(pool: nn.Module) -> ForwardRule:
    def rule(entering: Tensor) -> Tensor:
        if pool.output_size not in {1, (1, 1)}:
            plain: Tensor = type(pool).forward(pool, entering)
            return plain
        top: Tensor = _RescaledPool.apply(entering, nn.MaxPool2d(entering.shape[2:]))  # type: ignore[no-untyped-call]
        return GLOBAL_POOLS[type(pool).__name__](entering.mean(dim=(2, 3), keepdim=True), top)

    return rule


class _Rescaled(Function):
    """A ReLU of images and then their baselines; only the images' half propagates multipliers back."""

    @staticmethod
    def forward(context: Any, entering: Tensor) -> Tensor:
        context.save_for_backward(entering)
        return entering.relu()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        z, before = context.saved_tensors[0].chunk(2)
        same = z == before
        ratio = (z.relu() - before.relu()) / torch.where(same, 1, z - before)
        return _with_nothing(gradients[0].chunk(2)[0] * torch.where(same, (z > 0).to(z), ratio))


class _RescaledPool(Function):
    """A maximum pool of images and then their baselines."""

    @staticmethod
    def forward(context: Any, entering: Tensor, pool: nn.MaxPool2d) -> Tensor:
        shape = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)
        pooled, places = max_pool2d(entering, *shape, return_indices=True)
        context.save_for_backward(entering, pooled, places)
        return pooled

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (entering, pooled, places), (multipliers, _) = context.saved_tensors, gradients[0].chunk(2)
        (top, below), (place, place_below) = pooled.chunk(2), places.chunk(2)
        z, before = (half.flatten(2) for half in entering.chunk(2))
        chosen = torch.where(top >= below, place, place_below).flatten(2)
        moved = (z - before).gather(2, chosen)
        ratio = torch.where(moved == 0, 1, (top - below).flatten(2) / torch.where(moved == 0, 1, moved))
        handed = torch.zeros_like(z).scatter_add(2, chosen, multipliers.flatten(2) * ratio)
        return _with_nothing(handed.reshape(entering[: len(z)].shape)), None


def _with_nothing(multipliers: Tensor) -> Tensor:
    """Return the multipliers for the images, and zeros for the baselines."""
    return torch.cat([multipliers, torch.zeros_like(multipliers)])


@contextmanager
def replace_forwards(network: nn.Module, rules: Mapping[type[nn.Module], Callable[..., ForwardRule]]) -> Iterator[None]:
    """Replace `forward` of every module of these classes by its rule, while the block runs.

    Only the module's own `forward` is replaced. A replaced in-place layer does not work in place. A function that the
    network calls directly, without a module, cannot be replaced.
    """
    pairs = [(module, rule) for module in network.modules() for kind, rule in rules.items() if isinstance(module, kind)]
    own_forwards = [module.__dict__.get("forward") for module, _ in pairs]
    try:
        for module, rule in pairs:
            module.forward = rule(module)
        yield
    finally:
        for (module, _), own_forward in zip(pairs, own_forwards, strict=True):
            module.__dict__.pop("forward", None)
            if own_forward is not None:
                module.forward = own_forward
