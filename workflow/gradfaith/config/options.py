"""Options of a plug-in: a pydantic model of them, their values with defaults filled in, and the limits they must keep.

    limits=("steps >= 1", "samples >= 2 * segments or allow_underdetermined", "0 < shares < 1", "window <= size")

The model of a reader is its class `Options`; that of any other plug-in is built from the keyword-only arguments of its
function, as the syntax tree shows them, so that nothing is imported. Limits are conditions on the names of the options, read
from the declaration. An option with several numbers must have at least one, and each must keep the limit. `size` is the side
of the study's images, `seeds` the number of its seeds.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from gradfaith import registry
from gradfaith.errors import UnknownName

ANNOTATION_NAMES = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "Literal": Literal,
    "tuple": tuple,
    "list": list,
    "dict": dict,
}


@cache
def options_model(group: str, name: str) -> type[BaseModel]:
    """Return the pydantic model that checks the options of a plug-in; unknown keys are errors."""
    if group == "readers":
        reader_options: type[BaseModel] = registry.load(group, name).Options
        return reader_options
    fields: dict[str, Any] = {
        key: (eval(option.annotation, {"__builtins__": {}}, ANNOTATION_NAMES), option.default)
        for key, option in registry.entry(group, name).options.items()
    }
    return create_model(name, __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)


def complete(group: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return every option of a plug-in with its value, defaults filled in; ValueError, which pydantic reports, if one is wrong."""
    try:
        model = options_model(group, name)
    except UnknownName as error:
        raise ValueError(f"{error.problem} {error.fix}") from None
    try:
        return model.model_validate(dict(given)).model_dump()
    except ValidationError as error:
        problems = sorted(
            error.errors(), key=lambda problem: problem["type"] != "extra_forbidden"
        )  # unknown keys first
        raise ValueError(_describe(model, name, problems[0], given)) from None


def broken_limits(group: str, name: str, values: Mapping[str, Any], study: Mapping[str, int]) -> list[str]:
    """Return a line for each limit that the options break: `option: what is needed, and what was found`."""
    lines = []
    for limit in registry.entry(group, name).declared.get("limits", ()):
        if not _is_kept(limit, {**study, **values}):
            own = [word for word in names_in(limit) if word in values]
            known = [f"{word}: {study[word]}" for word in names_in(limit) if word in study]
            found = ", ".join([f"{word}: {values[word]!r}" for word in own] + known)
            lines.append(f"{own[0]}: {name} needs {limit}, found {found}")
    return lines


def names_in(limit: str) -> list[str]:
    """Return the names in a limit, in their order."""
    return [word for word in dict.fromkeys(re.findall(r"[a-z_]+", limit)) if word not in {"and", "or", "not"}]


def _describe(model: type[BaseModel], name: str, problem: Any, given: Mapping[str, Any]) -> str:
    key = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields) or "it has none"
        return f'{name} has no option "{key}"{registry.did_you_mean(key, model.model_fields)} Its options: {known}'
    return f'option "{key}" of {name}: {problem["msg"]}, found {given[key]!r}'


def _is_kept(limit: str, values: Mapping[str, Any]) -> bool:
    several = [word for word in names_in(limit) if isinstance(values[word], list | tuple)]
    if not several:
        return bool(eval(limit, {"__builtins__": {}}, dict(values)))
    (word,) = several
    return bool(values[word]) and all(_is_kept(limit, {**values, word: value}) for value in values[word])
