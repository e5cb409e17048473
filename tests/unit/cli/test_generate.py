"""The schema and the reference pages are what the models and the plug-ins declare, word for word."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from markdown_it import MarkdownIt

from gradfaith import registry
from gradfaith.cli.reference import generate
from gradfaith.dag.plan import Plan
from gradfaith.dag.tabular import TablePlan

DRIFT = "it and the models have drifted apart: run `gradfaith schema`"


def test_the_schema_is_the_one_the_models_give(root: Path) -> None:
    assert (root / generate.SCHEMA).read_text(encoding="utf-8") == generate.study_schema(), (
        f"{generate.SCHEMA}: {DRIFT}"
    )


def test_the_schema_of_tables_is_the_one_the_models_give(root: Path) -> None:
    text = (root / generate.TABLE_SCHEMA).read_text(encoding="utf-8")
    assert text == generate.table_study_schema(), f"{generate.TABLE_SCHEMA}: {DRIFT}"


def test_the_list_of_keys_is_the_one_the_models_give(root: Path) -> None:
    assert (root / generate.KEYS).read_text(encoding="utf-8") == generate.keys_page(), f"{generate.KEYS}: {DRIFT}"


@pytest.mark.parametrize(
    "page", [generate.keys_page, generate.methods_page, generate.metrics_page, generate.commands_page]
)
def test_generated_pages_hold_no_html_and_no_row_with_a_cell_too_many(page: Callable[[], str]) -> None:
    text = page()
    blocks = MarkdownIt("commonmark").enable("table").parse(text)
    tokens = [token for block in blocks for token in (block, *(block.children or []))]
    assert not [token.content for token in tokens if token.type.startswith("html")]
    tables = [table.split("\n") for table in re.findall(r"(?:^\|.*\n)+", text, re.M)]
    assert tables
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table if row}) == 1, table[0]


def test_the_list_of_methods_is_the_one_their_files_declare(root: Path) -> None:
    assert (root / generate.METHODS).read_text(encoding="utf-8") == generate.methods_page(), (
        f"{generate.METHODS}: {DRIFT}"
    )


def test_the_list_of_metrics_is_the_one_their_files_declare(root: Path) -> None:
    text = (root / generate.METRICS).read_text(encoding="utf-8")
    assert text == generate.metrics_page(), f"{generate.METRICS}: {DRIFT}"
    for room in ("localization", "faithfulness", "agreement"):
        assert all(f"| `{name}` |" in text for name in registry.names(room))


def test_the_list_of_commands_is_the_one_their_files_declare(root: Path) -> None:
    text = (root / generate.COMMANDS).read_text(encoding="utf-8")
    assert text == generate.commands_page(), f"{generate.COMMANDS}: {DRIFT}"
    assert re.findall(r"^## gradfaith (\S+)$", text, re.M) == list(registry.names("commands"))
    assert "| `--image" in text


def test_every_key_and_every_name_is_explained() -> None:
    keys = generate.keys_page()
    for key in (
        "split.tolerance",
        "training.epochs",
        "bundles.<bundle>.methods",
        "architectures.<architecture>.timm",
        "explain.max_images",
    ):
        line = next(line for line in keys.splitlines() if line.startswith(f"| `{key}` |"))
        assert len(line.rsplit("|", 2)[1].strip()) > 10
    assert "`shortcut.kind`" in keys
    assert "`gradcam`" in keys
    empty = [line for line in keys.splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert not empty


def examples() -> list[Path]:
    root = Path(__file__).parents[3]
    return [
        root / "config/config.yaml",
        root / "tests/workflow/tiny.yaml",
        *sorted((root / "config/studies").glob("*.yaml")),
    ]


@pytest.mark.parametrize("path", examples(), ids=lambda path: path.name)
def test_every_example_satisfies_the_schema_and_the_plan(path: Path, root: Path) -> None:
    study = yaml.safe_load(path.read_text())
    if "table" in study:
        jsonschema.validate(study, json.loads(generate.table_study_schema()))
        assert TablePlan.read(study, root, path.name).study.study == study["study"]
        return
    if "base" not in study:
        jsonschema.validate(study, json.loads(generate.study_schema()))
    assert Plan.read(study, root, path.name).study.study == study["study"]


@pytest.mark.parametrize(
    "path", [("bundles", "cams", "methods"), ("localization",), ("batteries", "masking", "imputers")]
)
def test_the_schema_refuses_an_unknown_name_in_a_list(tiny: dict[str, Any], path: tuple[str, ...]) -> None:
    place = tiny
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = ["nonesuch"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tiny, json.loads(generate.study_schema()))
