"""Check the options of a plug-in: build their pydantic model, fill in defaults, and test their limits.

    limits=("steps >= 1", "samples >= 2 * segments or allow_underdetermined", "0 < shares < 1", "window <= size")

The model of a reader is its class `Options`; that of any other plug-in is built from the keyword-only arguments of its
function, as the syntax tree shows them, so that nothing is imported. Limits are conditions on the names of the options, read
from the declaration. An option with several numbers must have at least one, and each must keep the limit. `size` is the side
of the study's images, `seeds` the number of its seeds. The options of an inner method (`of_options` of the method `of`) are
checked and completed as that method's own.

Annotations and limits are text in the source of a plug-in. Their syntax trees are walked, and only the types, operators and
names that are listed here mean something; no text is run.
"""

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from gradfaith import registry
from gradfaith.errors import BrokenPlugin, UnknownName

ANNOTATION_NAMES = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "tuple": tuple,
    "list": list,
    "dict": dict,
    "Any": Any,
}
OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@cache
def options_model(group: str, name: str) -> type[BaseModel]:
    """Return the pydantic model that checks the options of a plug-in; unknown keys are errors."""
    if group == "readers":
        reader_options: type[BaseModel] = registry.load(group, name).Options
        return reader_options
    with _reading_text_of(group, name):
        fields: dict[str, Any] = {
            key: (_type_of(ast.parse(option.annotation, mode="eval").body), option.default)
            for key, option in registry.entry(group, name).options.items()
        }
    return create_model(name, __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)


def complete(group: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return every option of a plug-in with its value, defaults filled in; ValueError, which pydantic reports, if one is invalid."""
    try:
        model = options_model(group, name)
    except UnknownName as error:
        raise ValueError(f"{error.problem} {error.fix}") from None
    try:
        values = model.model_validate(dict(given)).model_dump()
    except ValidationError as error:
        problems = sorted(
            error.errors(), key=lambda problem: problem["type"] != "extra_forbidden"
        )  # unknown keys first
        raise ValueError(_describe(model, name, problems[0], given)) from None
    if "of_options" in values and values["of"] in registry.names(
        "methods"
    ):  # otherwise consistency.py lists the valid values
        values["of_options"] = complete("methods", values["of"], values["of_options"])
    return values


def broken_limits(group: str, name: str, values: Mapping[str, Any], study: Mapping[str, int]) -> list[str]:
    """Return a line for each limit that the options break: `option: what is needed, and what was found`."""
    lines = []
    for limit in registry.entry(group, name).declared.get("limits", ()):
        with _reading_text_of(group, name):
            condition = ast.parse(limit, mode="eval").body
            kept = _is_kept(condition, {**study, **values})
        if not kept:
            words = _names_in(condition)
            own = [word for word in words if word in values]
            known = [f"{word}: {study[word]}" for word in words if word in study]
            found = ", ".join([f"{word}: {values[word]!r}" for word in own] + known)
            lines.append(f"{(own or words)[0]}: {name} needs {limit}, found {found}")
    return lines


@contextmanager
def _reading_text_of(group: str, name: str) -> Iterator[None]:
    """Turn a problem of an annotation or a limit into an error that names the plug-in."""
    try:
        yield
    except (SyntaxError, TypeError, ValueError) as error:
        raise BrokenPlugin(
            problem=f"{registry.entry(group, name).path.name}: an annotation or a limit of its options cannot be read: {error}.",
            reason="GradFaith reads them from the source text, without running the file.",
            fix=f"Use the types {', '.join(ANNOTATION_NAMES)} and Literal; a limit consists of numbers, names of options, "
            "`size`, `seeds`, the signs + - *, comparisons, and the words `and`, `or`, `not`.",
        ) from error


def _type_of(node: ast.expr) -> Any:
    """Return the type that an annotation names."""
    match node:
        case ast.Name(id=name) if name in ANNOTATION_NAMES:
            return ANNOTATION_NAMES[name]
        case ast.Constant(value=value) if value is None or value is ...:
            return value
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type_of(left) | _type_of(right)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=words):
            return Literal[ast.literal_eval(words)]
        case ast.Subscript(value=outer, slice=ast.Tuple(elts=parts)):
            return _type_of(outer)[tuple(map(_type_of, parts))]
        case ast.Subscript(value=outer, slice=part):
            return _type_of(outer)[_type_of(part)]
    raise ValueError(f'"{ast.unparse(node)}" is not an allowed type of an option')


def _names_in(condition: ast.expr) -> list[str]:
    """Return the names in a limit, in their order."""
    names = (node for node in ast.walk(condition) if isinstance(node, ast.Name))
    return list(dict.fromkeys(node.id for node in sorted(names, key=lambda node: node.col_offset)))


def _is_kept(condition: ast.expr, values: Mapping[str, Any]) -> bool:
    """Return whether a limit holds; if an option has several numbers, whether it has one and the limit holds for each."""
    several = [word for word in _names_in(condition) if isinstance(values.get(word), list | tuple)]
    if not several:
        return bool(_evaluate(condition, values))
    (word,) = several
    return bool(values[word]) and all(_is_kept(condition, {**values, word: value}) for value in values[word])


def _evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:
    """Return the value of a limit, or of a part of it, for these values of its names."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.UnaryOp(op=how, operand=inner) if type(how) in OPERATORS:
            return OPERATORS[type(how)](_evaluate(inner, values))
        case ast.BoolOp(op=how, values=parts):
            return (all if isinstance(how, ast.And) else any)(_evaluate(part, values) for part in parts)
        case ast.BinOp(left=left, op=how, right=right) if type(how) in OPERATORS:
            return OPERATORS[type(how)](_evaluate(left, values), _evaluate(right, values))
        case ast.Compare(left=left, ops=hows, comparators=others) if all(type(how) in OPERATORS for how in hows):
            chain = [_evaluate(part, values) for part in (left, *others)]
            return all(OPERATORS[type(how)](*pair) for how, pair in zip(hows, pairwise(chain), strict=True))
    raise ValueError(f'"{ast.unparse(node)}" is not a number, an option or an allowed operation')


def _describe(model: type[BaseModel], name: str, problem: Any, given: Mapping[str, Any]) -> str:
    key = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields) or "it has none"
        return f'{name} has no option "{key}"{registry.did_you_mean(key, model.model_fields)} Its options: {known}'
    return f'option "{key}" of {name}: {problem["msg"]}, found {given[key]!r}'
