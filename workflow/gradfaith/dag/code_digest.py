"""Compute a digest of the code that decides numbers.

    digest = hash over the syntax trees of a script and of every numeric file that it imports, directly or indirectly

The files are an allow-list: the numeric rooms without their plumbing (reading, writing, checking, timing), and the
definitions of NUMERIC_PARTS in two plumbing files. Stores and tables carry a FORMAT_VERSION instead. All imports are
followed: in functions, relative ones, and the `__init__` of packages. Modules loaded by name are given as further roots.

The hashed tree leaves out docstrings, comments, layout, the text of errors, and calls of `gradfaith.runtime.job` whose
result is not used. Editing these makes nothing stale.

The tree is written field by field, because the format of `ast.dump` differs between Python versions. Empty fields,
contexts and the borders between the pieces of an f-string are left out, so Python 3.11, 3.12 and 3.13 agree.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gradfaith.registry import PACKAGE, Entry
from gradfaith.runtime import own_code
from gradfaith.vocabulary import NEED_MODULES

NUMERIC_ROOMS = frozenset(
    {"attribution", "data", "metrics", "models", "reporting", "rng", "scoring", "stats", "vocabulary"}
)
PLUMBING = frozenset(  # files of these rooms that read, check, time or describe
    {
        "attribution.probe",
        "attribution.requirements",
        "attribution.time_ledger",
        "models.timm_import",
        "models.weight_file",
        "reporting.provenance",
    }
)
NUMERIC_PARTS = {  # of plumbing files: the definitions that decide numbers; the definitions that they use count too
    "models.checkpoint": ("load",),  # loads a network from its weights and its card
    "runtime.device": ("choose_device",),  # which switches TF32 off
}
JOB_FRAME = "gradfaith.runtime.job."
ERROR_KEYWORDS = {"problem", "reason", "fix"}
UNWRITTEN_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})  # redundant, or without meaning


def digest_code(*roots: Path) -> str:
    """Return sixteen hex digits for the numeric code behind these files."""
    whole = hashlib.sha256()
    for path in sorted(numeric_files(*roots)):
        whole.update(f"{path.name}\0{_source(path).digest}\0".encode())
    return whole.hexdigest()[:16]


def digest_own_code(code: str) -> str:
    """Return the digest of the file of a user's own network, package.module:callable; "" for a network of timm."""
    return digest_code(own_code.find_file(code)) if code else ""


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
            waiting.extend(_source(path).imports)
    return {path for path in seen if _source(path).digest}


@dataclass(frozen=True)
class _Source:
    """The contribution of one file: a digest of its numeric code ("" if none), and the numeric files it imports."""

    digest: str
    imports: tuple[Path, ...]


@cache
def _source(path: Path) -> _Source:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = path.relative_to(PACKAGE).with_suffix("").parts if path.is_relative_to(PACKAGE) else ()
    parts = NUMERIC_PARTS.get(".".join(inside))
    writer = _Writer()
    for node in tree.body if parts is None else _definitions(tree, parts):
        writer.write(node)
    text = "\n".join(writer.lines)
    digest = hashlib.sha256(text.encode()).hexdigest() if text else ""
    names = {".".join(("gradfaith", *inside[:-1])), *_imported_names(tree, ("gradfaith", *inside[:-1]))}
    return _Source(digest, tuple(sorted({file for name in names for file in _files(name)} - {path})))


def _imported_names(tree: ast.Module, package: tuple[str, ...]) -> Iterator[str]:
    """Yield the dotted names that a file of `package` imports, at its top or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            dotted = ".".join((*base, node.module) if node.module else base)
            yield dotted
            yield from (f"{dotted}.{alias.name}" for alias in node.names)


@cache
def _files(dotted: str) -> tuple[Path, ...]:
    """Return the numeric files that run when this name is imported: a module, and the `__init__` of every package above it."""
    root, *parts = dotted.split(".")
    found: list[Path] = []
    for end in range(1, len(parts) + 1 if root == "gradfaith" else 0):
        module = ".".join(parts[:end])
        if module in NUMERIC_PARTS or (parts[0] in NUMERIC_ROOMS and module not in PLUMBING):
            place = PACKAGE.joinpath(*parts[:end])
            found.extend(file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file())
    return tuple(found)


def _definitions(tree: ast.Module, names: Iterable[str]) -> list[ast.stmt]:
    """Return the statements of a file that define these names, and those that they use."""
    defined: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {part.id: node for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    chosen: set[ast.stmt] = set()
    waiting = [defined[name] for name in names]
    while waiting:
        node = waiting.pop()
        if node not in chosen:
            chosen.add(node)
            used = (part.id for part in ast.walk(node) if isinstance(part, ast.Name))
            waiting.extend(defined[name] for name in used if name in defined)
    return [node for node in tree.body if node in chosen]


class _Writer:
    """Writes trees as lines of text, without the parts that cannot change a number."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, node: ast.AST) -> None:
        if _says_nothing(node):
            return
        if isinstance(node, ast.Constant):  # as ASCII: printable letters depend on the Python version
            self.lines.append(f"{type(node.value).__name__} {node.value!a}")
            return
        self.lines.append(f"({type(node).__name__}")
        if isinstance(node, ast.JoinedStr):
            self._write_f_string(node)
        elif isinstance(node, ast.Raise):
            self._write_raised(node)
        elif isinstance(node, ast.Assert):
            self.write(node.test)
        else:
            self._write_fields(node)
        self.lines.append(")")

    def _write_fields(self, node: ast.AST) -> None:
        words = isinstance(node, ast.Call) and {word.arg for word in node.keywords} == ERROR_KEYWORDS
        for field in node._fields:
            value = getattr(node, field, None)
            if value is None or value == [] or field in UNWRITTEN_FIELDS or (words and field == "keywords"):
                continue
            self.lines.append(f".{field}")
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, ast.AST):
                    self.write(one)
                else:  # a name, a number, or None in a list: a dictionary's `**`, an argument without a default
                    self.lines.append(ascii(one))

    def _write_f_string(self, node: ast.JoinedStr) -> None:
        text = ""
        for piece in node.values:
            if isinstance(piece, ast.Constant):
                text += str(piece.value)
                continue
            self.lines.append(ascii(text))
            text = ""
            self.write(piece)
        self.lines.append(ascii(text))

    def _write_raised(self, node: ast.Raise) -> None:
        """Write the class and the cause of a raised error, without its text."""
        for part in (node.exc, node.cause):
            if isinstance(part, ast.Call):
                self.write(part.func)
            elif part is not None:
                self.write(part)


def _says_nothing(node: ast.AST) -> bool:
    """Return whether a statement cannot change a number: a docstring, `pass`, a call of `runtime/job.py`."""
    if not isinstance(node, ast.Expr):
        return isinstance(node, ast.Pass)
    told = isinstance(node.value, ast.Call) and ast.unparse(node.value.func).startswith(JOB_FRAME)
    return told or isinstance(node.value, ast.Constant)
