"""The digest follows what computes a number, and nothing else."""

import os
from pathlib import Path

import pytest

from gradfaith import digest

SCRIPT = '''"""A job."""
from gradfaith import numbers, tables
from gradfaith.rooms.far import Far

job = snakemake
tables.write(numbers.value(job, Far))
'''
NUMBERS = '''"""What it computes."""
import math

from gradfaith.errors import Broken


def value(x):
    """Twice x."""
    # why
    assert x is not None, "no x"
    if x < 0:
        raise Broken(found=f"{x} is negative", why="no", then="positive")
    return 2 * x


def refused(x):
    return Broken(found=f"{x}", why="so", then="else")
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of six files and a script."""
    monkeypatch.setattr(digest, "PACKAGE", tmp_path / "gradfaith")
    rooms = tmp_path / "gradfaith" / "rooms"
    rooms.mkdir(parents=True)
    (tmp_path / "job.py").write_text(SCRIPT)
    (tmp_path / "gradfaith" / "numbers.py").write_text(NUMBERS)
    (tmp_path / "gradfaith" / "tables.py").write_text("from gradfaith import unseen\nCOLUMNS = 1\n")
    (tmp_path / "gradfaith" / "unseen.py").write_text("X = 1\n")
    (rooms / "far.py").write_text("def far():\n    import gradfaith.rooms.farther\n\nFar = 1\n")
    (rooms / "farther.py").write_text("Y = 1\n")
    (rooms / "method.py").write_text("Z = 1\n")
    return tmp_path


def code(package: Path, *more: str) -> str:
    for cached in (digest._parsed, digest._tree_digest, digest._imports):
        cached.cache_clear()
    return digest.code(package / "job.py", *(package / "gradfaith" / name for name in more))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    # why\n", "    # because\n\n"),
        ('"""Twice x."""', '"""x and x."""'),
        ('    """Twice x."""\n', ""),
        ('"""What it computes."""\n', ""),
        ("    return 2 * x", "\n\n    return (2 * x)"),
        ('f"{x} is negative", why="no"', '"below zero", why="never"'),
        ('f"{x}", why="so"', '"other words", why="thus"'),
        ('"no x"', '"x is missing"'),
    ],
)
def test_what_changes_no_number_changes_no_digest(package: Path, old: str, new: str) -> None:
    before = code(package)
    edit(package / "gradfaith" / "numbers.py", old, new)
    assert code(package) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2 * x", "3 * x"),
        ("x < 0", "x <= 0"),
        ("raise Broken(", "raise ValueError("),
        ("import math", "import cmath as math"),
        ("x is not None", "x"),
    ],
)
def test_what_can_change_a_number_changes_the_digest(package: Path, old: str, new: str) -> None:
    before = code(package)
    edit(package / "gradfaith" / "numbers.py", old, new)
    assert code(package) != before


def test_files_reached_by_import_are_in_it_even_from_inside_a_function(package: Path) -> None:
    seen = {code(package)}
    for name in ("far", "farther"):
        (package / "gradfaith" / "rooms" / f"{name}.py").open("a").write("more = 2\n")
        seen.add(code(package))
    edit(package / "job.py", "value(job, Far)", "value(job, Far, 1)")
    assert len(seen | {code(package)}) == 4


def test_plumbing_and_what_only_plumbing_reaches_is_not(package: Path) -> None:
    before = code(package)
    edit(package / "gradfaith" / "tables.py", "= 1", "= 2")
    edit(package / "gradfaith" / "unseen.py", "= 1", "= 2")
    assert code(package) == before


def test_what_a_script_tells_the_frame_of_a_job_is_not_and_what_it_asks_is(package: Path) -> None:
    before = code(package)
    edit(package / "job.py", "job = snakemake\n", "job = snakemake\ngradfaith.job.accepted(job.input.card)\n")
    assert code(package) == before
    edit(package / "job.py", "gradfaith.job.accepted(", "x = gradfaith.job.accepted(")
    assert code(package) != before


def test_a_touch_or_another_folder_changes_nothing(package: Path, tmp_path_factory, monkeypatch) -> None:
    before = code(package)
    for path in package.rglob("*.py"):
        os.utime(path, (1, 1))
    assert code(package) == before
    moved = tmp_path_factory.mktemp("clone") / "there"
    package.rename(moved)
    monkeypatch.setattr(digest, "PACKAGE", moved / "gradfaith")
    assert code(moved) == before


def test_files_named_beside_the_script_count_in_any_order(package: Path) -> None:
    alone, both = code(package), code(package, "rooms/method.py", "unseen.py")
    assert both == code(package, "unseen.py", "rooms/method.py") != alone
    edit(package / "gradfaith" / "rooms" / "method.py", "= 1", "= 2")
    assert code(package) == alone
    assert code(package, "rooms/method.py", "unseen.py") != both


def test_every_module_called_plumbing_exists(root: Path) -> None:
    assert {path.stem for path in (root / "workflow/gradfaith").glob("*.py")} >= digest.PLUMBING
