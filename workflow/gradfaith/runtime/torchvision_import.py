"""Let `import torchvision`, and so `import timm`, succeed beside a torch without torchvision's compiled operators.

torchvision's wheel registers shapes for two operators (`nms`, `qnms`) of a compiled library. Beside a CPU-only torch that
library cannot be loaded, and the registration fails: "operator torchvision::nms does not exist". Declaring the schemas of
both operators first is enough. The operators themselves stay absent; no classifier needs them. Where the library can be
loaded (a CUDA build, a matching CPU build) nothing is declared.

    python -m gradfaith.runtime.torchvision_import

writes a copy of this file and a start-up line into the environment, so that a plain Python and a notebook import timm, too.
The copy is a module of its own: a Python that starts must not import gradfaith, or another checkout on its path would be
ignored. It costs each start of Python about a millisecond: torch is not imported before torchvision is.
"""

# Every start of Python imports the copy. So it imports neither `importlib.abc` nor `typing`, and `main` imports the rest.
from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder

TYPE_CHECKING = False  # type checkers take it for the one of `typing`
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib._abc import Loader
    from types import ModuleType
    from typing import Any

REGISTERING_MODULE = "torchvision._meta_registrations"
COPY, STARTUP_FILE = "torchvision_operator_schemas.py", "torchvision_operator_schemas.pth"
STARTUP_LINE = "import torchvision_operator_schemas; torchvision_operator_schemas.install()\n"
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
OPERATORS = ("nms", "qnms")
_libraries: list[Any] = []  # a library's schemas last only as long as the object


class SchemaFinder:
    """Finds the module of torchvision that needs the schemas, and leaves all others to the finders after it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module's own spec, with a loader that declares the schemas first."""
        if fullname != REGISTERING_MODULE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = SchemaLoader(spec.loader)  # type: ignore[assignment]  # it has what Python calls of a loader
        return spec


class SchemaLoader:
    """Declares the schemas that are missing, then loads the module as its own loader does."""

    def __init__(self, own: Loader) -> None:
        self.own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module as its own loader does."""
        return self.own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Declare the schemas, then run the module."""
        declare_schemas()
        self.own.exec_module(module)


def install() -> None:
    """Install the finder in this process, once."""
    if not any(type(finder).__name__ == SchemaFinder.__name__ for finder in sys.meta_path):  # of this file or its copy
        sys.meta_path.insert(0, SchemaFinder())


def declare_schemas() -> None:
    """Declare the operators of torchvision that its library did not register."""
    import torch

    missing = [name for name in OPERATORS if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in missing:
            library.define(name + SCHEMA)  # type: ignore[no-untyped-call]
        _libraries.append(library)


def main() -> None:
    """Write the copy and the start-up file into the environment of this Python if a plain `import timm` fails there."""
    import sysconfig
    from pathlib import Path

    own = Path(__file__).read_text(encoding="utf-8")
    copy, startup = (Path(sysconfig.get_path("purelib")) / name for name in (COPY, STARTUP_FILE))
    if _timm_can_be_imported():
        if copy.is_file():  # perhaps of an older version of GradFaith
            copy.write_text(own, encoding="utf-8")
        return
    copy.write_text(own, encoding="utf-8")
    startup.write_text(STARTUP_LINE, encoding="utf-8")
    if not _timm_can_be_imported():
        startup.unlink()
        copy.unlink()
        sys.exit("`import timm` still fails in this environment; `gradfaith doctor` prints the error.")
    sys.stdout.write(
        f"torchvision's operators are missing beside this torch; {startup} declares them for every Python.\n"
    )


def _timm_can_be_imported() -> bool:
    import subprocess

    return not subprocess.run([sys.executable, "-c", "import timm"], capture_output=True, check=False).returncode


if __name__ == "__main__":
    main()
