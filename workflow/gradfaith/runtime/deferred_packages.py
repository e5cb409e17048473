"""Import one file of a package without the package's `__init__`, which may import everything else that it has.

    defer("timm.models")                      # nothing of timm runs
    import timm.models.resnet                 # this file and what it imports
    timm.models.list_models                   # not there yet: now `timm/models/__init__.py` runs, as always

Python runs the `__init__` of every package above a module. The `__init__` of timm's models imports about 80 files, that of
torchvision its datasets, transforms and models. `defer` puts the package into `sys.modules` and postpones its `__init__`
until a name is asked for that the package does not have yet. So other code sees the complete package, at the price of its
import at that moment.
"""

import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_running_init = threading.RLock()


class DeferredPackage(ModuleType):
    """A package whose `__init__` has not run. Asking for a name that it lacks runs it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in {"__all__", "__version__"}:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        quick = self.__dict__["__quick__"]
        if quick and name != "__all__" and hasattr(names := importlib.import_module(quick), name):
            return getattr(names, name)
        with _running_init:
            run_init(self.__name__)
        return getattr(self, name)


def defer(package: str, quick: str = "") -> None:
    """Postpone the `__init__` of a package, unless it has run already or the package is not installed.

    `quick`: a module of the package, without imports of its own. A name that it has is taken from there.
    """
    if package in sys.modules or (spec := importlib.util.find_spec(package)) is None:
        return
    module = importlib.util.module_from_spec(spec)
    module.__dict__["__quick__"] = quick
    module.__class__ = DeferredPackage
    sys.modules[package] = module
    parent, _, child = package.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def run_init(package: str) -> None:
    """Run the `__init__` of a package if it was postponed. If it fails, it can be tried again."""
    module = sys.modules[package]
    if not isinstance(module, DeferredPackage):
        return
    spec = module.__spec__
    assert spec is not None
    assert spec.loader is not None
    module.__class__ = ModuleType  # type: ignore[assignment]  # Python lets a module change its class
    try:
        spec.loader.exec_module(module)
    except BaseException:
        module.__class__ = DeferredPackage
        raise


@contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Let imports in the block find none of these packages, for a library that can do without them; not if one is imported."""
    added = [package for package in packages if package not in sys.modules]
    sys.modules.update(dict.fromkeys(added))  # type: ignore[arg-type]  # None: Python's import then fails at once
    try:
        yield
    finally:
        for package in added:
            del sys.modules[package]
