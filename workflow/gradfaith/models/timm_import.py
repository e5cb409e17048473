"""Import what a job needs of timm; all other modules write `from gradfaith.models.timm_import import timm`.

A plain `import timm` has three problems:

- torchvision's wheel beside a CPU-only torch fails at import: `runtime/torchvision_import` describes and solves this.
- it imports the files of all architectures, and torchvision's datasets, transforms and models. A job needs one file.
  `timm` here is an object with timm's functions. Those that take an architecture's name import the file that registers the
  name; any other attribute imports all of timm.
- both import torch's compiler for a decorator and a check that only matter under `torch.compile`, which few recipes
  use. A stand-in takes its place while they load and is removed afterwards: `torch.compile` loads the real one.

The packages stay timm's own, with `__init__` files that are run late (`runtime/deferred_packages`). So other code in the
same process, a user's network for instance, imports and uses timm and torchvision as always.
"""

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from gradfaith.runtime import torchvision_import
from gradfaith.runtime.deferred_packages import defer, run_init

_COMPILER = ("torch._dynamo", "torch._dynamo.utils")
_DEFERRED = {  # and the module of theirs that has the names which timm's files take from them
    "torchvision": "",
    "torchvision.models": "",
    "torchvision.ops": "",
    "timm": "timm.version",
    "timm.data": "timm.data.constants",
    "timm.models": "",
}
_REGISTERED = re.compile(rb"^@register_model\r?\ndef (\w+)\(", re.MULTILINE)


class Timm:
    """The functions of timm that take an architecture's name, and all else of timm as attributes."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_import_whole(), name)

    def create_model(self, name: str, **options: Any) -> Any:
        """Build a network, as `timm.create_model`; a VGG of any widths if `options` has the `cfg` of timm's class VGG."""
        factory = _import_architecture(name, "_factory")
        if "cfg" not in options or registering_files().get(name.partition(".")[0]) != "vgg":
            return factory.create_model(name, **options)
        widths = options.pop("cfg")
        table, kind = _import("timm.models.vgg").cfgs, name.partition("_")[0]
        standard, table[kind] = table[kind], widths
        try:
            return factory.create_model(name, **options)
        finally:
            table[kind] = standard

    def is_model(self, name: str) -> bool:
        """Return whether timm has an architecture, as `timm.is_model`."""
        return bool(_import_architecture(name, "_registry").is_model(name))

    def is_model_pretrained(self, name: str) -> bool:
        """Return whether timm offers weights under a name, as `timm.is_model_pretrained`."""
        return bool(_import_architecture(name, "_registry").is_model_pretrained(name))

    def get_pretrained_cfg(self, name: str) -> Any:
        """Return timm's description of an architecture's weights, as `timm.get_pretrained_cfg`."""
        return _import_architecture(name, "_registry").get_pretrained_cfg(name)


timm = Timm()


@cache
def registering_files() -> Mapping[str, str]:
    """Return the file of timm that registers each architecture, by the name of the architecture."""
    _defer_packages()
    spec = importlib.util.find_spec("timm.models")
    folders = (spec.submodule_search_locations if spec is not None else None) or []
    files = sorted(path for folder in folders for path in Path(folder).glob("*.py"))
    return {name.decode(): path.stem for path in files for name in _REGISTERED.findall(path.read_bytes())}


def _import_architecture(name: str, module: str) -> ModuleType:
    """Return a module of `timm.models` after the file that registers this name; after all of timm if no file does."""
    file = registering_files().get(name.partition(".")[0])
    if file is None:  # an old name, which timm replaces by a new one, or no name of timm
        _import_whole()
    else:
        _import(f"timm.models.{file}")
    return _import(f"timm.models.{module}")


def _import_whole() -> ModuleType:
    package = _import("timm")
    with _without_compiler():
        run_init("timm")
    return package


def _import(module: str) -> ModuleType:
    _defer_packages()
    try:
        with _without_compiler():
            return importlib.import_module(module)
    except (AttributeError, ImportError):  # a version that uses more of the compiler than the stand-in has
        for name in [name for name in sys.modules if name.split(".")[0] in {"torchvision", "timm"}]:
            del sys.modules[name]
        return importlib.import_module(module)


@cache
def _defer_packages() -> None:
    torchvision_import.install()
    for package, quick in _DEFERRED.items():
        defer(package, quick)


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
