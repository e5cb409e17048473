"""Provide parts that several pixel methods share: baseline images, and modules with a replaced forward pass.

A baseline is an image that represents "no evidence". Integrated gradients and DeepLIFT start their paths there, and
occlusion fills its windows with it. The imputer of the same name computes it, so a method and a metric can use the
same "no evidence".

    black   0; on CT this is air, inside the body too
    mean    the grey that the network's normalisation subtracts, which is 0 for its first layer
    blur    the image without its detail

`replace_forwards` changes how modules propagate gradients while a block runs:

    with replace_forwards(network, {nn.ReLU: lambda _relu: rule}): ...

It replaces only the module's own `forward`, and restores it afterwards. A replaced in-place layer does not work in
place. A function that the network calls directly, without a module, cannot be replaced.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from torch import Tensor, nn

from gradfaith.attribution.contract import ImageInputs
from gradfaith.metrics.contract import Context
from gradfaith.metrics.imputers import black, blur, mean

Baseline = Literal["black", "mean", "blur"]
BASELINE_FILLS: Mapping[Baseline, Callable[..., Tensor]] = {"black": black.fill, "mean": mean.fill, "blur": blur.fill}
ForwardRule = Callable[[Tensor], Tensor]


def baseline_images(inputs: ImageInputs, kind: Baseline) -> Tensor:  # (n, c, h, w)
    """Return the baseline of every image."""
    return BASELINE_FILLS[kind](inputs.images, Context(keep=None, mean=inputs.mean))


@contextmanager
def replace_forwards(network: nn.Module, rules: Mapping[type[nn.Module], Callable[..., ForwardRule]]) -> Iterator[None]:
    """Replace `forward` of every module of these classes by its rule, while the block runs."""
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
