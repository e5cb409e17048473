"""What the registry reads from syntax trees is what the imported files say."""

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from gradfaith import registry
from gradfaith.config import options as study_options
from gradfaith.errors import BrokenPlugin, UnknownName

EVERY = [(room, name) for room in registry.PLUGIN_GROUPS for name in registry.names(room)]


@pytest.mark.parametrize(("room", "name"), EVERY)
def test_declaration_and_options_are_those_of_the_imported_file(room: str, name: str) -> None:
    entry, module = registry.entry(room, name), registry.load(room, name)
    assert module.__name__ == entry.module
    declaration = getattr(module, registry.PLUGIN_GROUPS[room].declaration)
    if dataclasses.is_dataclass(declaration):
        assert {key: getattr(declaration, key) for key in entry.declared} == entry.declared
    function = inspect.signature(getattr(module, registry.PLUGIN_GROUPS[room].function))
    wanted = {word.name: word.default for word in function.parameters.values() if word.kind is word.KEYWORD_ONLY}
    assert {key: option.default for key, option in entry.options.items()} == wanted
    assert entry.summary


def test_contracts_and_shared_code_are_no_entries() -> None:
    named = {name for _, name in EVERY}
    assert {
        "gradcam",
        "random-grid",
        "phantom",
        "folder",
        "locacc",
        "faith",
        "consist",
        "black",
        "classification",
    } <= named
    assert not named & {"contract", "shuffle", "theme", "overlay", "sheet", "captum_adapter"}


def test_a_control_is_called_with_hyphens_and_is_no_method() -> None:
    assert registry.entry("controls", "random-grid").path.name == "random_grid.py"
    assert "random-grid" not in registry.names("methods")
    with pytest.raises(UnknownName):
        registry.entry("controls", "random_grid")


def test_one_plug_in_is_read_without_the_files_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every job asks for a few plug-ins by name, and reading all 120 takes a tenth of a second."""
    read: list[str] = []
    whole = registry._entry
    monkeypatch.setattr(registry, "_entry", lambda path, group: read.append(path.name) or whole(path, group))
    for cached in (registry.entries, registry._read_by_name):
        cached.cache_clear()
    assert registry.entry("methods", "gradcam") == registry.entries("methods")["gradcam"]
    assert read[0] == "gradcam.py"
    assert read.count("layercam.py") == 1, "by `entries`"
    for name in ("GradCAM", "../methods/gradcam", "contract", "random_grid"):
        with pytest.raises(UnknownName):
            registry.entry("controls" if name == "random_grid" else "methods", name)


def test_an_unknown_name_is_refused_with_what_was_probably_meant() -> None:
    with pytest.raises(UnknownName, match='no method called "gradcan"; did you mean "gradcam"') as refusal:
        registry.load("methods", "gradcan")
    assert "gradcam" in refusal.value.fix
    with pytest.raises(UnknownName, match=r'no imputer called "zzz"\.'):
        registry.entry("imputers", "zzz")


NUMBERS = [
    (room, name, key)
    for room, name in EVERY
    for key, option in registry.entry(room, name).options.items()
    if re.search(r"\b(int|float)\b", option.annotation)
]


@pytest.mark.parametrize(("room", "name", "key"), NUMBERS)
def test_every_number_that_is_an_option_has_limits_which_its_default_keeps(room: str, name: str, key: str) -> None:
    """Minus one works nowhere, and nothing declared lets it pass."""
    study, entry = {"size": 224, "seeds": 1}, registry.entry(room, name)
    defaults = {word: option.default for word, option in entry.options.items()}
    assert study_options.broken_limits(room, name, defaults, study) == []
    for limit in entry.declared["limits"]:
        names = {node.id for node in ast.walk(ast.parse(limit)) if isinstance(node, ast.Name)}
        assert names <= {*defaults, *study}
    below = (-1,) if isinstance(defaults[key], tuple) else -1
    found = study_options.broken_limits(room, name, defaults | {key: below}, study)
    assert any(line.startswith(f"{key}: {name} needs ") for line in found)
    assert all(f"{key}: {below!r}" in line for line in found)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("N = 3\nMETHOD = Method(needs=N)\n", 2, "METHOD(needs=...) is not a literal: N"),
        (
            "METHOD = Method(needs=())\n\n\ndef attribute(*, steps: int = 2 * 8): ...\n",
            4,
            "the default of steps is not a literal: 2 * 8",
        ),
        ("METHOD = Method(\n", 1, "it cannot be parsed"),
    ],
)
def test_a_declaration_that_cannot_be_read_names_its_file_and_line(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(BrokenPlugin) as refusal:
        registry._entry(file, registry.PLUGIN_GROUPS["methods"])
    assert refusal.value.problem.startswith(f"{file}, line {line}: {said}")
