"""Options of a plug-in: checked against its keyword-only arguments, filled with their defaults, held to its limits.

    limits=("steps >= 1", "samples >= 2 * segments or allow_underdetermined", "0 < shares < 1", "window <= size")

Annotations are evaluated over a handful of plain names, so that nothing is imported; pydantic does the checking. Limits are
conditions on the names of the options, read from the syntax tree (registry.py). An option with several numbers must have at
least one, and each must keep the limit. `size` is the side of the study's images, `seeds` the number of its seeds.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from gradfaith import registry
from gradfaith.errors import UnknownName

PLAIN = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "Literal": Literal,
    "tuple": tuple,
    "list": list,
    "dict": dict,
}


def adapter(option: registry.Option) -> TypeAdapter[Any]:
    """What checks one option, from its annotation as written."""
    annotation = eval(option.annotation, {"__builtins__": {}}, PLAIN)
    return TypeAdapter(annotation, config=ConfigDict(strict=False, allow_inf_nan=False))


def complete(room: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of a name with its value; ValueError, which pydantic knows, says what is wrong."""
    try:
        entry = registry.entry(room, name)
    except UnknownName as error:
        raise ValueError(f"{error.found} {error.then}") from None
    for key in given:
        if key not in entry.options:
            known = ", ".join(entry.options) or "it has none"
            raise ValueError(
                f'{name} has no option "{key}"{registry.did_you_mean(key, entry.options)} Its options: {known}'
            )
    values: dict[str, Any] = {}
    for key, option in entry.options.items():
        try:
            values[key] = adapter(option).validate_python(given[key]) if key in given else option.default
        except ValidationError as error:
            raise ValueError(f'option "{key}" of {name}: {error.errors()[0]["msg"]}, found {given[key]!r}') from None
    return values


def broken(room: str, name: str, values: Mapping[str, Any], study: Mapping[str, int]) -> list[str]:
    """The limits that options do not keep, each as `option: what is needed, and what was found`."""
    lines = []
    for limit in registry.entry(room, name).declared.get("limits", ()):
        if not _kept(limit, {**study, **values}):
            own = [word for word in words(limit) if word in values]
            known = [f"{word}: {study[word]}" for word in words(limit) if word in study]
            found = ", ".join([f"{word}: {values[word]!r}" for word in own] + known)
            lines.append(f"{own[0]}: {name} needs {limit}, found {found}")
    return lines


def words(limit: str) -> list[str]:
    """The names in a limit, in its order."""
    return [word for word in dict.fromkeys(re.findall(r"[a-z_]+", limit)) if word not in {"and", "or", "not"}]


def _kept(limit: str, values: Mapping[str, Any]) -> bool:
    several = [word for word in words(limit) if isinstance(values[word], list | tuple)]
    if not several:
        return bool(eval(limit, {"__builtins__": {}}, dict(values)))
    (word,) = several
    return bool(values[word]) and all(_kept(limit, {**values, word: value}) for value in values[word])
