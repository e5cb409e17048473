"""What a method declares, in words."""

import pytest

from gradfaith import registry
from gradfaith.cli.reference import plugin_tables


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({}, "none"),
        ({"forwards": 1}, "1 forward"),
        ({"forwards": 2, "backwards": 2}, "2 forwards, 2 backwards"),
        ({"forwards": 1, "head_passes": "channels"}, "1 forward, a forward of the head per channel"),
        ({"head_passes": 2}, "2 forwards of the head"),
        ({"forwards": "orders * superpixels + 1"}, "a forward per order and superpixel and 1 more"),
        ({"forwards": "steps + 2", "backwards": "steps"}, "a forward per step and 2 more, a backward per step"),
    ],
)
def test_passes_are_said_as_a_person_says_them(declared: dict, said: str) -> None:
    assert plugin_tables.format_passes(declared) == said


def test_every_requirement_has_words() -> None:
    asked = {trait for entry in registry.entries("methods").values() for trait in entry.declared.get("requires", ())}
    assert asked <= set(plugin_tables.REQUIREMENTS)


def test_where_a_method_is_not_defined_the_reason_stands_beside_it() -> None:
    why = dict.fromkeys((*registry.names("methods"), *registry.names("controls")), "") | {"cam": "a | reason"}
    table = plugin_tables.methods_markdown({"net": why}).splitlines()
    assert next(line for line in table if line.startswith("| `cam`")).endswith("| no: a \\| reason |")
    assert next(line for line in table if line.startswith("| `gradcam`")).endswith("| yes |")
    text = plugin_tables.methods_text({"net": why})
    assert text.count("not for net: a | reason") == 1
    assert text.count("defined for net") == len(why) - 1
