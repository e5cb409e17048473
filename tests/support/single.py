"""Simulate a device without double precision, such as mps: its tensors raise an error on float64, except on `cpu()`."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten


class SinglePrecisionTensor(Tensor):
    """A tensor on the simulated device."""

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if function is Tensor.cpu:
            with torch._C.DisableTorchFunctionSubclass():
                return args[0].detach().as_subclass(Tensor)
        found = super().__torch_function__(function, types, args, kwargs or {})
        for part in tree_flatten(found)[0]:
            if isinstance(part, SinglePrecisionTensor) and part.dtype == torch.float64:
                raise TypeError("this device has no float64")
        return found


def to_single_precision(module: nn.Module) -> nn.Module:
    """Move the parameters and buffers of a module to the simulated device."""
    for part in module.modules():
        for name, value in part.named_parameters(recurse=False):
            setattr(part, name, nn.Parameter(value.detach().as_subclass(SinglePrecisionTensor), requires_grad=False))
        for name, value in part.named_buffers(recurse=False):
            setattr(part, name, value.as_subclass(SinglePrecisionTensor))
    return module
