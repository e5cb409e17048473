"""Find and import the code of a user's own network, if the person at the shell allows it.

A study names the code as `package.module:callable`. The package is installed, or lies in the project's folder. A study can
come from someone else, and importing runs code, so a study's word is not enough: the permission comes from the command line
(`snakemake --config trust_code=1`, `gradfaith --trust-code`) and is passed to the jobs in an environment variable.
"""

import importlib
import os
import re
import sys
from collections.abc import Callable, MutableMapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from gradfaith.errors import CodeNotTrusted, ModelUnusable

PATTERN = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
KEY = "trust_code"  # of `--config`
_VARIABLE = "GRADFAITH_TRUST_CODE"


def allow() -> None:
    """Allow this process and its children to import the code that studies name."""
    os.environ[_VARIABLE] = "1"


def take_permission(config: MutableMapping[str, Any], from_command_line: MutableMapping[str, Any]) -> None:
    """Read the permission of `--config`; the key in a file stays where it is and is refused as an unknown key."""
    if str(from_command_line.get(KEY, "")).lower() in ("1", "true", "yes"):
        allow()
    if KEY in from_command_line:
        config.pop(KEY, None)


def find_file(code: str) -> Path:
    """Return the file of `package.module:callable` without importing anything.

    Raises:
        CodeNotTrusted: the command line did not allow the code.
        ModelUnusable: there is no such module.
    """
    _check_permission(code)
    module = code.partition(":")[0]
    path, spec = _search_path(), None
    for end in range(1, module.count(".") + 2):
        spec = PathFinder.find_spec(".".join(module.split(".")[:end]), path)
        path = list(spec.submodule_search_locations or []) if spec else []
    if spec is None or spec.origin is None:
        raise _import_error(code, f'there is no module "{module}"')
    return Path(spec.origin)


def load(code: str) -> Callable[..., Any]:
    """Import and return the callable `package.module:callable`; the errors are those of `find_file`."""
    _check_permission(code)
    module, _, name = code.partition(":")
    sys.path[:] = _search_path()
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # a user's module can raise anything
        raise _import_error(code, f"{type(error).__name__}: {error}") from error
    if not callable(found):
        raise _import_error(code, f"{name} is a {type(found).__name__}, which cannot be called")
    return found  # type: ignore[no-any-return]


def _search_path() -> list[str]:
    """Return Python's own search path, with the project's folder at its end."""
    here = str(Path.cwd())
    return sys.path if here in sys.path else [*sys.path, here]


def _check_permission(code: str) -> None:
    if not re.fullmatch(PATTERN, code):
        raise _import_error(code, "it does not have the form package.module:callable")
    if os.environ.get(_VARIABLE) != "1":
        raise CodeNotTrusted(
            problem=f"the network {code} is code that is not part of GradFaith.",
            reason="Importing it runs it with your permissions, and a study can come from someone else.",
            fix="If you trust this code, allow it yourself: `snakemake --config trust_code=1 ...`, or "
            "`gradfaith --trust-code COMMAND ...`.",
        )


def _import_error(code: str, cause: str) -> ModelUnusable:
    return ModelUnusable(
        problem=f"{code} cannot be imported: {cause}.",
        reason="An architecture's `module` names a callable that returns a torch network, as package.module:callable.",
        fix="Install the package in this environment, or put it into the folder in which you call Snakemake, and correct `module`.",
    )
