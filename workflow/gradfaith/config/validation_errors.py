"""Turn pydantic's errors into one StudyInvalid: each key's path, what is wrong, what was probably meant."""

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from gradfaith.config.sections import LABEL_PATTERN
from gradfaith.errors import StudyInvalid
from gradfaith.registry import did_you_mean


def invalid_study(where: str, error: ValidationError, model: type[BaseModel]) -> StudyInvalid:
    """Return the error that lists all problems of a document, one line each."""
    return StudyInvalid(
        problem=f"{where}: " + "\n    ".join(describe_problems(error, model)),
        reason="Every key and value is checked before anything runs, so that typing errors cannot change results.",
        fix="Correct these keys; docs/keys.md explains each.",
    )


def describe_problems(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return a line for each problem: the key's path, and what is wrong with it."""
    other = [
        found for found in error.errors() if found["type"] != "literal_error" or not isinstance(found["input"], dict)
    ]
    return list(dict.fromkeys(_line(problem, model) for problem in other))  # of a union only the branch that was meant


def _line(problem: Any, model: type[BaseModel]) -> str:
    names = {cls.__name__ for cls in _models(model)}
    path = [
        str(part)
        for part in problem["loc"]
        if str(part) not in names and not str(part).startswith(("function-", "literal[", "constrained-", "tuple["))
    ]
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key{did_you_mean(path[-1], _keys(model, path[:-1]))}"
    said = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "string_pattern_mismatch" and problem["ctx"]["pattern"] == LABEL_PATTERN:
        said = "a name has small letters, digits, - and _ only"
    found = (
        f", found {problem['input']!r}"
        if isinstance(problem["input"], str | int | float) and problem["type"] != "value_error"
        else ""
    )
    return f"{key}: {said}{found}" if key else said


def _keys(model: type[BaseModel], path: Sequence[str]) -> set[str]:
    """The keys that may stand at a path."""
    level = {model}
    for part in path:
        inner = [cls.model_fields[part].annotation for cls in level if part in cls.model_fields]
        level = {found for annotation in inner for found in _named_models(annotation)} or level
    return {key for cls in level for key in cls.model_fields}


def _named_models(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {found for part in get_args(annotation) for found in _named_models(part)}


def _models(model: type[BaseModel]) -> set[type[BaseModel]]:
    found, waiting = set(), [model]
    while waiting:
        cls = waiting.pop()
        if cls not in found:
            found.add(cls)
            waiting.extend(inner for field in cls.model_fields.values() for inner in _named_models(field.annotation))
    return found
