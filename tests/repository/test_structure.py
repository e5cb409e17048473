"""The package keeps its structure: rooms, layers, sizes, one meaning per class name, and a picture that is true."""

import ast
import importlib.util
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from types import ModuleType

import pytest

from gradfaith import registry

ROOMS, OTHERS, LONGEST, LEVELS, DOUBLED, GRADCAM, EXPLAIN = 12, 200, 300, 8, 5, 17, 69


@pytest.fixture(scope="module")
def page(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("structure", root / "docs/structure.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["structure"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def structure(page: ModuleType):
    return page.Structure()


def test_the_root_holds_what_every_room_may_read_and_nothing_else(structure) -> None:
    assert structure.root_modules == ["__init__", "errors", "registry", "rng", "vocabulary"]
    assert len(structure.rooms) == ROOMS


def test_every_file_of_tests_has_a_name_of_its_own(root: Path) -> None:
    """pytest imports them by this name: of two, one would stop the collection of all."""
    names = [path.name for path in sorted((root / "tests").rglob("*.py")) if path.name != "conftest.py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_modules_are_few_and_of_a_readable_length(structure) -> None:
    lengths = [structure.lines(name) for name in structure.others]
    assert len(structure.others) <= OTHERS
    assert 80 <= median(lengths) <= 200
    assert {name: structure.lines(name) for name in structure.trees if structure.lines(name) > LONGEST} == {}


def test_imports_go_down_and_never_in_a_circle(structure, page: ModuleType) -> None:
    level = {name: number for number, names in enumerate(page.LAYERS) for name in names}
    upward = [
        (room, other)
        for room, imported in structure.room_imports.items()
        for other in imported
        if level[other] <= level[room]
    ]
    assert upward == []
    assert structure.levels <= LEVELS
    assert structure.cycles(structure.imports) == []
    assert structure.cycles({"a": {"b"}, "b": {"a"}, "c": {"a"}}) == [["a", "b"]]


def test_the_layers_of_the_picture_are_those_of_the_contract(page: ModuleType, root: Path) -> None:
    contract = page.layers_of_contract((root / "pyproject.toml").read_text())
    assert [set(names) for names in page.LAYERS] == contract


def test_a_class_name_means_one_thing(structure) -> None:
    doubled = structure.doubled_classes
    assert len(doubled) <= DOUBLED
    assert set(doubled) <= {"Options"}, doubled  # of readers, which the registry finds by this name


def test_no_text_is_run(structure) -> None:
    """Options, limits and files come from users: their text is parsed, never evaluated."""
    found = [
        f"{name}, line {node.lineno}"
        for name, tree in structure.trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"eval", "exec", "compile"}
    ]
    assert found == []


ONE_WORD_TWO_MEANINGS = {
    "['parts']": {"data.pack", "data.readers.folder"},  # a region of a store, and a folder of the user's
    "['controls']": {"config.claims", "dag.plan"},  # opponents in a claim, and a bundle
    "['all']": {
        "cli.run_progress",
        "metrics.contract",
        "stats.estimates",
    },  # a rule, all regions, a stratum of all images
}


def test_a_constant_is_defined_once(structure) -> None:
    """The same word, or the same choice of words, in two modules drifts apart; a plug-in's options are read alone, so they repeat it."""
    homes: dict[str, set[str]] = defaultdict(set)
    for name, tree in structure.trees.items():
        for value in (*_constants(tree), *(() if name in structure.plugins else _choices(tree))):
            homes[value].add(name)
    doubled = {value: modules for value, modules in homes.items() if len(modules) > 1}
    assert doubled == ONE_WORD_TWO_MEANINGS


def _constants(tree: ast.Module) -> Iterator[str]:
    """Yield the words of a module's constants, in any order."""
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        several = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
        for value in node.value.elts if several else [node.value]:
            yield from _words(value, least=1)


def _choices(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal":
            yield from _words(node.slice, least=2)


def _words(node: ast.expr, *, least: int) -> Iterator[str]:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return
    words = [value] if isinstance(value, str) else value
    if isinstance(words, tuple | set | list) and len(words) >= least and all(isinstance(word, str) for word in words):
        yield repr(sorted(words))


def test_unit_tests_lie_in_the_rooms_that_they_test(structure) -> None:
    assert structure.homeless_tests == []


def test_the_picture_is_drawn_from_the_imports(structure, page: ModuleType) -> None:
    assert page.PICTURE.read_text(encoding="utf-8") == page.draw(structure), "run `python docs/structure.py --write`"


def test_every_figure_and_table_has_a_caption_of_its_name(root: Path) -> None:
    for group in ("figures", "tables"):
        captions = {path.stem for path in (root / "workflow/report" / group).glob("*.rst")}
        assert captions == set(registry.names(group))


def test_few_files_decide_a_map(structure, page: ModuleType) -> None:
    """A reviewer of one number reads these; a change of another file makes it not stale."""
    assert len(page.files_of_gradcam()) <= GRADCAM
    assert len(structure.reached_by_rule("explain")) <= EXPLAIN
