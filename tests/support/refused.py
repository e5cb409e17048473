"""A study with one key changed, and what is said when it is refused."""

from pathlib import Path
from typing import Any

import pytest

from gradfaith.dag.plan import Plan
from gradfaith.errors import StudyInvalid


def put(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The document with one key changed; None takes it out."""
    *way, last = path.split("/")
    place = document
    for part in way:
        place = place.setdefault(part, {})
    if value is None:
        place.pop(last)
    else:
        place[last] = value
    return document


def refusal(document: dict[str, Any], root: Path) -> StudyInvalid:
    with pytest.raises(StudyInvalid) as raised:
        Plan.read(document, root, "study.yaml")
    assert raised.value.reason
    assert raised.value.fix
    return raised.value
