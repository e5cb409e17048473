"""A digest of code: what computes a number, and nothing else.

    digest = hash over the syntax trees of a script and of every numeric file it reaches

Docstrings, comments, layout, the words of a `raise` and what a script only tells `gradfaith.runtime.job` (a call whose answer nobody
takes) are not in the tree that is hashed, so that editing them makes nothing stale. Plumbing (reading, writing, checking,
choosing a device) is not followed: stores and tables carry a FORMAT_VERSION instead. Modules loaded by name are given as
further roots.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from gradfaith.registry import PACKAGE, Entry
from gradfaith.vocabulary import NEED_MODULES

NUMERIC_ROOMS = frozenset(
    {"attribution", "data", "metrics", "models", "reporting", "rng", "scoring", "stats", "vocabulary"}
)
PLUMBING = frozenset(  # files of these rooms that read, check, time or describe
    {
        "attribution.probe",
        "attribution.requirements",
        "attribution.time_ledger",
        "models.checkpoint",
        "models.timm_import",
        "models.weight_file",
        "reporting.provenance",
    }
)


def digest_code(*roots: Path) -> str:
    """Sixteen hex digits for the numeric code behind these files."""
    whole = hashlib.sha256()
    for path in sorted(numeric_files(*roots)):
        whole.update(f"{path.name}\0{_tree_digest(path)}\0".encode())
    return whole.hexdigest()[:16]


def module_file(module: str) -> Path:
    """Return the file of a module, named without the leading `gradfaith.`."""
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


def plugin_files(plugins: Iterable[Entry]) -> list[Path]:
    """Return the files of plug-ins, and those of the modules that their needs load by name."""
    plugins = list(plugins)
    needs = {need for plugin in plugins for need in plugin.declared.get("needs", ()) if need in NEED_MODULES}
    return [plugin.path for plugin in plugins] + [module_file(NEED_MODULES[need]) for need in sorted(needs)]


def numeric_files(*roots: Path) -> set[Path]:
    """Return these files and every numeric file of the package that they import, directly or through others."""
    seen: set[Path] = set()
    waiting = list(roots)
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting.extend(_imports(path))
    return seen


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _tree_digest(path: Path) -> str:
    tree = _Essence().visit(ast.parse(path.read_text(encoding="utf-8")))
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    """The package's own numeric files that a file imports, at its head or inside a function."""
    found: list[Path] = []
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "gradfaith":
            dotted = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            dotted = [alias.name for alias in node.names if alias.name.split(".")[0] == "gradfaith"]
        else:
            continue
        found.extend(file for name in dotted if (file := _file(name)) is not None)
    return tuple(dict.fromkeys(found))


def _file(dotted: str) -> Path | None:
    parts = dotted.split(".")[1:]
    if not parts or parts[0] not in NUMERIC_ROOMS or ".".join(parts) in PLUMBING:
        return None
    path = module_file(".".join(parts))
    return path if path.is_file() else None


class _Essence(ast.NodeTransformer):
    """Drops what cannot change a number: docstrings, the words of an error, and what is told to `runtime/job.py`."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _has_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
        return super().generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if {word.arg for word in node.keywords} == {"problem", "reason", "fix"}:  # an error built before it is raised
            node.keywords = []
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        told = isinstance(node.value, ast.Call) and ast.unparse(node.value.func).startswith("gradfaith.runtime.job.")
        return None if told else self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        node.msg = None
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        for part in ast.walk(node):
            for word in getattr(part, "keywords", []):
                word.value = ast.Constant("")
            if isinstance(part, ast.Call):
                part.args = []
        return node


def _has_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
