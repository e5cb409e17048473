"""Every value of a study, replaced by one that means nothing there, is refused with its key; none is taken, none is a traceback."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_images import ROOT

from gradfaith.dag.plan import Plan
from gradfaith.errors import GradFaithError

TINY = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text())
BAD_NAMES = [
    "",
    " ",
    "a/b",
    "../a",
    ".",
    "..",
    "a b",
    "{arch}",
    "a\nb",
    "a\x00",
    "<script>",
    "ü",
    "-a",
    "a" * 300,
    5,
    None,
    True,
    [],
    {},
    1.5,
]
BAD_NUMBERS = ["abc", float("nan"), float("inf"), float("-inf"), [1], {"a": 1}, -(10**30), 10**400, "1; import os"]
BAD_TEXTS = ["no-such-thing", "", 7, ["a", "b"], {"a": {}}, "../x", "\x00"]
FREE = {("dataset", "options"), ("architectures",), ("bundles",), ("batteries",), ("architectures", "net-a", "options"),
        ("architectures", "net-b", "options")}  # fmt: skip
Path_ = tuple[Any, ...]


def leaves(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Every value that holds no other, with the keys that lead to it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path, value
    else:
        for key, inner in items:
            yield from leaves(inner, (*path, key))


def replaced(path: Path_, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(TINY)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


def renamed(path: Path_, name: Any) -> dict[str, Any]:
    """The mapping at `path` with another name for its first key."""
    document = copy.deepcopy(TINY)
    place = document
    for key in path:
        place = place[key]
    first = next(iter(place))
    place[name] = place.pop(first)
    return document


def cases() -> Iterator[Any]:
    for path, value in leaves(TINY):
        if path[0] == "architectures" and ("options" in path or "timm" in path):
            continue  # timm's own words, and nothing here imports timm: the first job that builds the network refuses them
        for bad in BAD_NUMBERS if isinstance(value, int | float) else BAD_TEXTS if path != ("study",) else BAD_NAMES:
            yield pytest.param(replaced(path, bad), id=f"{'.'.join(map(str, path))}={str(bad)[:20]!r}")
    for path in (("architectures",), ("bundles",), ("batteries",)):
        for bad in BAD_NAMES:
            if isinstance(bad, list | dict):
                continue  # no key of YAML's either
            yield pytest.param(renamed(path, bad), id=f"{path[0]}: {str(bad)[:20]!r}")
    for path, value in (((), TINY), *(((key,), value) for key, value in TINY.items() if isinstance(value, dict))):
        if path not in FREE:
            yield pytest.param(replaced((*path, "no_such_key"), 1), id=f"{'.'.join(path)}.no_such_key")
        assert isinstance(value, dict)
    for key in TINY:
        for bad in (3, [[]], None, [None], {"": {}}, *(["x"] if key != "study" else [])):
            yield pytest.param(replaced((key,), bad), id=f"{key}={bad!r}")


CASES = list(cases())


@pytest.mark.parametrize("document", CASES)
def test_a_study_that_means_nothing_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(GradFaithError) as refusal:
        Plan.read(document, Path(ROOT), "mine.yaml")
    assert "mine.yaml" in refusal.value.problem or "dataset" in refusal.value.problem
    assert refusal.value.reason
    assert refusal.value.fix


def test_there_are_many_cases() -> None:
    assert len(CASES) >= 150
