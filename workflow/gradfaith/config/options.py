"""Options of a file found by name: checked against its keyword-only arguments, filled with their defaults.

The annotation is evaluated over a handful of plain names, so that nothing is imported; pydantic does the checking. What the
values must keep beyond that is in config/option_limits.py.
"""

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
