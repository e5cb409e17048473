"""A name is a file stem: what exists, what it declares, and the module behind it.

A file belongs to a room when it assigns the room's declaration (`METHOD = Method(...)`, say). Declarations and options
are read from the syntax tree, so a study is checked, and the schema written, without importing torch. `attribution/controls/random_grid.py` is
called `random-grid`: names are written with hyphens.
"""

import ast
import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from gradfaith.errors import UnknownName

PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Room:
    """A folder of interchangeable files: where, what each must assign, and which function carries its options."""

    folder: str
    declaration: str
    function: str
    singular: str


ROOMS = {
    "methods": Room("attribution/methods", "METHOD", "attribute", "method"),
    "controls": Room("attribution/controls", "METHOD", "attribute", "control"),
    "readers": Room("data/readers", "Options", "read", "reader"),
    "imputers": Room("metrics/imputers", "IMPUTER", "fill", "imputer"),
    "localization": Room("metrics/localization", "METRIC", "score", "localization metric"),
    "faithfulness": Room("metrics/faithfulness", "METRIC", "changes", "faithfulness metric"),
    "agreement": Room("metrics/agreement", "METRIC", "ready", "agreement metric"),
    "composite": Room("metrics/composite", "METRIC", "score", "composite metric"),
    "figures": Room("reporting/figures", "FIGURE", "draw", "figure"),
}


@dataclass(frozen=True)
class Option:
    """One keyword-only argument: its annotation as written, and its default."""

    annotation: str
    default: Any


@dataclass(frozen=True)
class Entry:
    """One file of a room, as its syntax tree tells it."""

    name: str
    path: Path
    declared: Mapping[str, Any]
    options: Mapping[str, Option]
    summary: str

    @property
    def module(self) -> str:
        return ".".join(("gradfaith", *self.path.relative_to(PACKAGE).with_suffix("").parts))


@cache
def entries(room: str) -> Mapping[str, Entry]:
    """Every file of a room by name, sorted."""
    place = ROOMS[room]
    found = (_entry(path, place) for path in sorted((PACKAGE / place.folder).glob("*.py")))
    return {entry.name: entry for entry in found if entry is not None}


def names(room: str) -> tuple[str, ...]:
    return tuple(entries(room))


def entry(room: str, name: str) -> Entry:
    """The entry of a name, or a refusal that says what was probably meant."""
    known = entries(room)
    if name not in known:
        kind = ROOMS[room].singular
        raise UnknownName(
            found=f'there is no {kind} called "{name}"{did_you_mean(name, known)}',
            why=f"A {kind} is a file in workflow/gradfaith/{ROOMS[room].folder}/, and its stem is its name.",
            then=f"Use one of: {', '.join(known) or 'none yet'}.",
        )
    return known[name]


def load(room: str, name: str) -> ModuleType:
    """The module behind a name."""
    return importlib.import_module(entry(room, name).module)


def did_you_mean(name: str, known: Any) -> str:
    """A question for the end of a sentence; a full stop where nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f'; did you mean "{near[0]}"?' if near else "."


def _entry(path: Path, place: Room) -> Entry | None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    declared: Mapping[str, Any] | None = None
    options: Mapping[str, Option] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and _names(node) == [place.declaration] and isinstance(node.value, ast.Call):
            declared = {word.arg: ast.literal_eval(word.value) for word in node.value.keywords if word.arg}
        elif isinstance(node, ast.ClassDef) and node.name == place.declaration:
            declared = {}
        elif isinstance(node, ast.FunctionDef) and node.name == place.function:
            options = _options(node)
    if declared is None:
        return None
    summary = (ast.get_docstring(tree) or "").split("\n\n", 1)[0].replace("\n", " ")
    return Entry(
        path.stem.replace("_", "-") if place.singular == "control" else path.stem, path, declared, options, summary
    )


def _names(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def _options(function: ast.FunctionDef) -> dict[str, Option]:
    pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return {
        word.arg: Option(ast.unparse(word.annotation) if word.annotation else "Any", ast.literal_eval(default))
        for word, default in pairs
        if default is not None
    }
