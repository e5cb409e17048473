"""Find plug-ins by name: list their files, read their declarations, and import them.

A plug-in is a file in the folder of its group that assigns the group's declaration (`METHOD = Method(...)`, say). Its name is
the file's stem; controls and commands write hyphens for underscores (`random_grid.py` is `random-grid`). Declarations and
options are read from the syntax tree, so GradFaith checks studies and writes the schema without importing torch.
"""

import ast
import difflib
import importlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from gradfaith.errors import BrokenPlugin, UnknownName

PACKAGE = Path(__file__).parent
PLAIN_NAME = re.compile(r"[a-z0-9_-]+")  # lower case: some file systems take `GradCAM.py` for `gradcam.py`


@dataclass(frozen=True)
class PluginGroup:
    """A folder of plug-ins: the name that each file must assign, and the function that has its options."""

    folder: str  # relative to the package
    declaration: str  # the name that makes a file a plug-in
    function: str  # its keyword-only arguments are the plug-in's options
    singular: str


PLUGIN_GROUPS = {
    "methods": PluginGroup("attribution/methods", "METHOD", "attribute", "method"),
    "controls": PluginGroup("attribution/controls", "METHOD", "attribute", "control"),
    "readers": PluginGroup("data/readers", "Options", "read", "reader"),  # `Options` is a pydantic model
    "imputers": PluginGroup("metrics/imputers", "IMPUTER", "fill", "imputer"),
    "localization": PluginGroup("metrics/localization", "METRIC", "score", "localization metric"),
    "faithfulness": PluginGroup("metrics/faithfulness", "METRIC", "changes", "faithfulness metric"),
    "agreement": PluginGroup("metrics/agreement", "METRIC", "ready", "agreement metric"),
    "composite": PluginGroup("metrics/composite", "METRIC", "score", "composite metric"),
    "figures": PluginGroup("reporting/figures", "FIGURE", "draw", "figure"),
    "tables": PluginGroup("reporting/tables", "TABLE", "tabulate", "table"),
    "table_sources": PluginGroup("data/tabular", "TABLE", "read", "source of tables"),
    "table_models": PluginGroup("models/tabular", "MODEL", "fit", "model of tables"),
    "table_methods": PluginGroup("attribution/tabular", "METHOD", "attribute", "method for tables"),
    "table_metrics": PluginGroup("metrics/tabular", "TABLE_METRIC", "score", "metric for tables"),
    "commands": PluginGroup("cli/commands", "COMMAND", "run", "command"),
}


@dataclass(frozen=True)
class Option:
    """One keyword-only argument: its annotation as written, and its default."""

    annotation: str
    default: Any


@dataclass(frozen=True)
class Entry:
    """One plug-in, as its syntax tree describes it."""

    name: str
    path: Path
    declared: Mapping[str, Any]  # the keywords of its declaration
    options: Mapping[str, Option]
    summary: str  # the first paragraph of its docstring

    @property
    def module(self) -> str:
        """Return the dotted name to import it by."""
        return ".".join(("gradfaith", *self.path.relative_to(PACKAGE).with_suffix("").parts))


@cache
def entries(group: str) -> Mapping[str, Entry]:
    """Return every plug-in of a group by name, in the order of the file names."""
    about = PLUGIN_GROUPS[group]
    found = (_entry(path, about) for path in sorted((PACKAGE / about.folder).glob("*.py")))
    return {entry.name: entry for entry in found if entry is not None}


def names(group: str) -> tuple[str, ...]:
    """Return the names of a group's plug-ins."""
    return tuple(entries(group))


def entry(group: str, name: str) -> Entry:
    """Return one plug-in; raise UnknownName with the nearest name if there is none."""
    if (only := _read_by_name(group, name)) is not None:
        return only
    known = entries(group)
    if name not in known:
        about = PLUGIN_GROUPS[group]
        raise UnknownName(
            problem=f'there is no {about.singular} called "{name}"{did_you_mean(name, known)}',
            reason=f"A {about.singular} is a file in workflow/gradfaith/{about.folder}/, and its stem is its name.",
            fix=f"Use one of: {', '.join(known) or 'none yet'}.",
        )
    return known[name]


@cache
def _read_by_name(group: str, name: str) -> Entry | None:
    """Read the file that a name stands for and no other; None if it is no plug-in, or named in an unusual way."""
    about = PLUGIN_GROUPS[group]
    path = PACKAGE / about.folder / f"{name.replace('-', '_')}.py"
    if not PLAIN_NAME.fullmatch(name) or not path.is_file():
        return None
    found = _entry(path, about)
    return found if found is not None and found.name == name else None


def load(group: str, name: str) -> ModuleType:
    """Import the module of a plug-in."""
    return importlib.import_module(entry(group, name).module)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return '; did you mean "x"?' for the nearest known name, or a full stop if no name is near."""
    spellings: dict[str, str] = {}
    for one in known:
        spellings.setdefault(_plain_spelling(one), one)
    near = difflib.get_close_matches(_plain_spelling(name), list(spellings), n=1, cutoff=0.5)
    return f'; did you mean "{spellings[near[0]]}"?' if near else "."


def _plain_spelling(name: str) -> str:
    """Return a name without what people write in different ways: Grad-CAM++ and gradcam_pp are the same."""
    return re.sub(r"[\s_.-]", "", name.casefold().replace("+", "p"))


def _entry(path: Path, group: PluginGroup) -> Entry | None:
    """Read one file; None if it does not declare a plug-in."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise _broken(path, getattr(error, "lineno", None), f"it cannot be parsed ({error})") from error
    declared: Mapping[str, Any] | None = None
    options: Mapping[str, Option] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and _targets(node) == [group.declaration] and isinstance(node.value, ast.Call):
            declared = {
                word.arg: _literal(path, word.value, f"{group.declaration}({word.arg}=...)")
                for word in node.value.keywords
                if word.arg
            }
        elif isinstance(node, ast.ClassDef) and node.name == group.declaration:
            declared = {}
        elif isinstance(node, ast.FunctionDef) and node.name == group.function:
            options = _options(path, node)
    if declared is None:
        return None
    summary = (ast.get_docstring(tree) or "").split("\n\n", 1)[0].replace("\n", " ")
    name = path.stem.replace("_", "-") if group.singular in {"control", "command"} else path.stem
    return Entry(name, path, declared, options, summary)


def _targets(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def _options(path: Path, function: ast.FunctionDef) -> dict[str, Option]:
    pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return {
        word.arg: Option(
            ast.unparse(word.annotation) if word.annotation else "Any",
            _literal(path, default, f"the default of {word.arg}"),
        )
        for word, default in pairs
        if default is not None
    }


def _literal(path: Path, node: ast.expr, what: str) -> Any:
    """Evaluate a literal. Other expressions are errors, because the file is not run."""
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise _broken(path, node.lineno, f"{what} is not a literal: {ast.unparse(node)}") from error


def _broken(path: Path, line: int | None, problem: str) -> BrokenPlugin:
    where = path.relative_to(PACKAGE.parents[1]) if path.is_relative_to(PACKAGE.parents[1]) else path
    return BrokenPlugin(
        problem=f"{where}{f', line {line}' if line else ''}: {problem}.",
        reason="Declarations and option defaults are read from the source, without running it.",
        fix="Write them as plain numbers, strings, tuples, lists or dictionaries.",
    )
