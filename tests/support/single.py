"""A device without double precision, as mps is: its tensors refuse what the real ones refuse, and leave by `cpu()` only."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten


class Single(Tensor):
    """A tensor of such a device."""

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if function is Tensor.cpu:
            with torch._C.DisableTorchFunctionSubclass():
                return args[0].detach().as_subclass(Tensor)
        found = super().__torch_function__(function, types, args, kwargs or {})
        for part in tree_flatten(found)[0]:
            if isinstance(part, Single) and part.dtype == torch.float64:
                raise TypeError("this device has no float64")
        return found


def moved(module: nn.Module) -> nn.Module:
    """A module whose parameters and buffers lie on such a device."""
    for part in module.modules():
        for name, value in part.named_parameters(recurse=False):
            setattr(part, name, nn.Parameter(value.detach().as_subclass(Single), requires_grad=False))
        for name, value in part.named_buffers(recurse=False):
            setattr(part, name, value.as_subclass(Single))
    return module
