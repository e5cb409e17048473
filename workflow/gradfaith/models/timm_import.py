"""Import timm safely and quickly; all other modules write `from gradfaith.models.timm_import import timm`.

A plain `import timm` has two problems:

- torchvision's wheel beside a CPU-only torch fails at import: `runtime/torchvision_import` describes and solves this.
- both import torch's compiler for a decorator and a check that only matter under `torch.compile`, which few recipes
  use. A stand-in takes its place while they load and is removed afterwards: `torch.compile` loads the real one.

Cost: 2.3 s instead of 3.7 s, of which 1.4 s is torch (one core, warm files).
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from gradfaith.runtime import torchvision_import

_COMPILER = ("torch._dynamo", "torch._dynamo.utils")


@contextmanager
def _without_compiler() -> Iterator[None]:
    if "torch._dynamo" in sys.modules:
        yield
        return
    package, checks = (ModuleType(name) for name in _COMPILER)
    package.disable = lambda function=None, *_, **__: function  # type: ignore[attr-defined]
    checks.is_compile_supported = lambda _: False  # type: ignore[attr-defined]
    sys.modules.update(zip(_COMPILER, (package, checks), strict=True))
    try:
        yield
    finally:
        for name in _COMPILER:
            sys.modules.pop(name, None)


def _purge(*packages: str) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in packages]:
        del sys.modules[name]


def _import_timm() -> ModuleType:
    torchvision_import.install()
    try:
        with _without_compiler():
            return importlib.import_module("timm")
    except (AttributeError, ImportError):  # a version that uses more of the compiler than the stand-in has
        _purge("torchvision", "timm")
        return importlib.import_module("timm")


timm = _import_timm()
