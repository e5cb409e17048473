"""A deferred package runs its `__init__` once, when somebody asks for a name that it does not have yet."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from gradfaith.runtime.deferred_packages import DeferredPackage, defer, hidden, run_init

NAME = "a_package_of_this_test"
FILES = {
    "__init__.py": "import sys\nsys.runs_of_this_test += 1\nfrom .all_of_it import everything\nfrom .one import part\n",
    "one.py": "part = 'one'\n",
    "all_of_it.py": "everything = 'all'\n",
    "constants.py": "LIMIT = 3\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / NAME
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "runs_of_this_test", 0, raising=False)
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == NAME]:
        del sys.modules[name]


def runs() -> int:
    return int(sys.runs_of_this_test)  # type: ignore[attr-defined]


def loaded() -> set[str]:
    return {name.removeprefix(f"{NAME}.") for name in sys.modules if name.startswith(f"{NAME}.")}


@pytest.mark.usefixtures("package")
def test_a_file_is_imported_without_the_rest() -> None:
    defer(NAME)
    one = importlib.import_module(f"{NAME}.one")
    assert one.part == "one"
    assert (runs(), loaded()) == (0, {"one"})


@pytest.mark.usefixtures("package")
def test_a_name_that_is_missing_runs_the_init_once() -> None:
    defer(NAME)
    package = importlib.import_module(NAME)
    assert (package.everything, package.part) == ("all", "one")
    assert (runs(), type(package)) == (1, ModuleType)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing
    assert runs() == 1


@pytest.mark.usefixtures("package")
def test_from_imports_find_what_the_init_defines() -> None:
    defer(NAME)
    names: dict[str, object] = {}
    exec(f"from {NAME} import everything", names)
    assert (names["everything"], runs()) == ("all", 1)


@pytest.mark.usefixtures("package")
def test_names_of_the_quick_module_do_not_run_the_init() -> None:
    defer(NAME, f"{NAME}.constants")
    package = importlib.import_module(NAME)
    assert (package.LIMIT, runs(), loaded()) == (3, 0, {"constants"})
    assert (package.everything, runs()) == ("all", 1)


@pytest.mark.usefixtures("package")
def test_asking_how_the_package_was_made_does_not_run_the_init() -> None:
    defer(NAME)
    package = importlib.import_module(NAME)
    assert package.__name__ == NAME
    assert package.__file__
    assert not hasattr(package, "__wrapped__")
    assert runs() == 0


def test_an_init_that_fails_can_be_tried_again(package: Path) -> None:
    whole = (package / "__init__.py").read_text()
    (package / "__init__.py").write_text("raise ImportError('a library is missing')")
    defer(NAME)
    with pytest.raises(ImportError, match="a library is missing"):
        run_init(NAME)
    assert isinstance(sys.modules[NAME], DeferredPackage)
    (package / "__init__.py").write_text(whole + "# another length, so that no cached code is used\n")
    assert importlib.import_module(NAME).everything == "all"


@pytest.mark.usefixtures("package")
def test_a_package_that_was_imported_stays_as_it_is() -> None:
    before = importlib.import_module(NAME)
    defer(NAME)
    run_init(NAME)
    assert sys.modules[NAME] is before
    assert runs() == 1


def test_a_package_that_is_not_installed_stays_absent() -> None:
    defer("no_such_package_anywhere")
    assert "no_such_package_anywhere" not in sys.modules


@pytest.mark.usefixtures("package")
def test_a_hidden_package_is_found_again_after_the_block() -> None:
    with hidden(NAME, "sys"), pytest.raises(ModuleNotFoundError, match=NAME):
        importlib.import_module(f"{NAME}.one")
    assert importlib.import_module("sys") is sys  # imported before, so it was not hidden
    assert importlib.import_module(f"{NAME}.one").part == "one"
    assert runs() == 1
