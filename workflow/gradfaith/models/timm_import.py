"""Import timm safely and quickly; all other modules write `from gradfaith.models.timm_import import timm`.

Two things stand in the way of a plain `import timm`:

- torchvision's wheel beside a CPU-only torch fails at import, because it registers shapes for two operators (`nms`,
  `qnms`) of a library that could not be loaded. Declaring their schemas first is enough; the operators themselves stay
  absent, and no classifier needs them. Where torchvision loads by itself (a CUDA build) nothing is declared.
- both import torch's compiler for a decorator and a check that only matter under `torch.compile`, which few recipes
  use. A stand-in takes its place while they load and is removed afterwards: `torch.compile` loads the real one.

Cost: 2.3 s instead of 3.7 s, of which 1.4 s is torch (one core, warm files).
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

_COMPILER = ("torch._dynamo", "torch._dynamo.utils")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_operator_libraries: list[torch.library.Library] = []  # a library's schemas last only as long as the object


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


def _import_torchvision() -> None:
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _purge("torchvision")
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        library.define("nms" + _SCHEMA)  # type: ignore[no-untyped-call]
        library.define("qnms" + _SCHEMA)  # type: ignore[no-untyped-call]
        _operator_libraries.append(library)
        importlib.import_module("torchvision")


def _import_timm() -> ModuleType:
    try:
        with _without_compiler():
            _import_torchvision()
            return importlib.import_module("timm")
    except (AttributeError, ImportError):  # a version that uses more of the compiler than the stand-in has
        _purge("torchvision", "timm")
        _import_torchvision()
        return importlib.import_module("timm")


timm = _import_timm()
