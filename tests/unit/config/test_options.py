"""Annotations and limits are text that is read and never run; numbers like 1e-6 and names like top_k2 are understood."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gradfaith import registry
from gradfaith.config import options
from gradfaith.errors import BrokenPlugin

Plant = Callable[..., str]


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Make a group of plug-ins with one file, `mine`, and return the group's name."""

    def make(options_text: str, *limits: str) -> str:
        text = f"METHOD = Method(limits={limits!r})\n\n\ndef attribute(*, {options_text}): ...\n"
        (tmp_path / "mine.py").write_text(text)
        about = registry.PluginGroup(str(tmp_path), "METHOD", "attribute", "planted method")
        monkeypatch.setitem(registry.PLUGIN_GROUPS, str(tmp_path), about)
        return str(tmp_path)

    return make


@pytest.mark.parametrize(
    ("limit", "good", "bad"),
    [
        ("epsilon >= 1e-6", {"epsilon": 1e-6}, {"epsilon": 9e-7}),
        ("top_k2 >= 1", {"top_k2": 1}, {"top_k2": 0}),
        ("-0.5 <= epsilon < 1.5E0", {"epsilon": -0.5}, {"epsilon": 1.5}),
        ("top_k2 >= 2 * (size - 30) or not strict", {"strict": False}, {"top_k2": 3}),
        ("top_k2 != 7 and epsilon == 1", {}, {"top_k2": 7}),
    ],
)
def test_a_limit_is_kept_or_broken(plant: Plant, limit: str, good: dict[str, object], bad: dict[str, object]) -> None:
    group = plant("epsilon: float = 1.0, top_k2: int = 4, strict: bool = True", limit)
    defaults = options.complete(group, "mine", {})
    study = {"size": 32, "seeds": 2}
    assert options.broken_limits(group, "mine", defaults | good, study) == []
    (line,) = options.broken_limits(group, "mine", defaults | bad, study)
    assert f"mine needs {limit}, found " in line
    (key,) = bad
    assert f"{key}: {bad[key]}" in line


def test_each_of_several_numbers_keeps_the_limit_and_there_is_one(plant: Plant) -> None:
    group = plant("shares: tuple[float, ...] = (0.5,)", "0 < shares < 1")
    assert options.broken_limits(group, "mine", {"shares": (0.1, 0.9)}, {}) == []
    assert options.broken_limits(group, "mine", {"shares": (0.1, 1.0)}, {})
    assert options.broken_limits(group, "mine", {"shares": ()}, {})


@pytest.mark.parametrize(
    "limit",
    [
        "k.__class__",
        "open('planted')",
        "k >= other",
        "k >= 1 if k else 0",
        "[k for k in 'ab']",
        "k >=",
        "k >= 'a'",
        "k ** 9",
    ],
)
def test_a_limit_with_anything_else_is_an_error_of_the_plug_in(plant: Plant, limit: str) -> None:
    group = plant("k: int = 3", limit)
    with pytest.raises(BrokenPlugin, match=r"mine\.py: an annotation or a limit") as refusal:
        options.broken_limits(group, "mine", {"k": 3}, {"size": 8})
    assert "comparisons" in refusal.value.fix


def test_annotations_are_understood(plant: Plant) -> None:
    group = plant(
        "a: int | None = None, b: dict[str, float] = {}, c: list[int] = [], d: Literal['x', 'y'] = 'x', "
        "e: tuple[Literal['p'], ...] = (), f: Literal[3] = 3, g=1"
    )
    given = {"a": 2, "b": {"k": 0.5}, "c": [1], "d": "y", "e": ("p",), "f": 3, "g": "free"}
    assert options.complete(group, "mine", given) == given
    for key, wrong in {"a": "two", "b": {"k": "x"}, "c": ["x"], "d": "z", "e": ("q",), "f": 4}.items():
        with pytest.raises(ValueError, match=f'option "{key}" of mine'):
            options.complete(group, "mine", {key: wrong})


@pytest.mark.parametrize("annotation", ["open('planted', 'w')", "int if open('planted', 'w') else str", "Path", "().x"])
def test_an_annotation_is_never_run(
    plant: Plant, annotation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    group = plant(f"k: {annotation} = 3")
    with pytest.raises(BrokenPlugin, match=r"is not an allowed type of an option"):
        options.complete(group, "mine", {})
    assert not (tmp_path / "planted").exists()
