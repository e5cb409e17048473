"""The digest follows what computes a number, and nothing else."""

import os
from pathlib import Path

import pytest

from gradfaith.dag import code_digest

SCRIPT = '''"""A job."""
from gradfaith.metrics import numbers
from gradfaith.storage import tables
from gradfaith.metrics.far import Far

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
        raise Broken(problem=f"{x} is negative", reason="no", fix="positive")
    return 2 * x


def refused(x):
    return Broken(problem=f"{x}", reason="so", fix="else")
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of six files and a script."""
    monkeypatch.setattr(code_digest, "PACKAGE", tmp_path / "gradfaith")
    metrics = tmp_path / "gradfaith" / "metrics"
    metrics.mkdir(parents=True)
    (tmp_path / "gradfaith" / "storage").mkdir()
    (tmp_path / "job.py").write_text(SCRIPT)
    (tmp_path / "gradfaith" / "metrics" / "numbers.py").write_text(NUMBERS)
    (tmp_path / "gradfaith" / "storage" / "tables.py").write_text("from gradfaith.storage import unseen\nCOLUMNS = 1\n")
    (tmp_path / "gradfaith" / "storage" / "unseen.py").write_text("X = 1\n")
    (metrics / "far.py").write_text("def far():\n    import gradfaith.metrics.farther\n\nFar = 1\n")
    (metrics / "farther.py").write_text("Y = 1\n")
    (metrics / "method.py").write_text("Z = 1\n")
    return tmp_path


def code(package: Path, *more: str) -> str:
    for cached in (code_digest._parsed, code_digest._tree_digest, code_digest._imports):
        cached.cache_clear()
    return code_digest.digest_code(package / "job.py", *(package / "gradfaith" / name for name in more))


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
        ('f"{x} is negative", reason="no"', '"below zero", reason="never"'),
        ('f"{x}", reason="so"', '"other words", reason="thus"'),
        ('"no x"', '"x is missing"'),
    ],
)
def test_what_changes_no_number_changes_no_digest(package: Path, old: str, new: str) -> None:
    before = code(package)
    edit(package / "gradfaith" / "metrics" / "numbers.py", old, new)
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
    edit(package / "gradfaith" / "metrics" / "numbers.py", old, new)
    assert code(package) != before


def test_files_reached_by_import_are_in_it_even_from_inside_a_function(package: Path) -> None:
    seen = {code(package)}
    for name in ("far", "farther"):
        (package / "gradfaith" / "metrics" / f"{name}.py").open("a").write("more = 2\n")
        seen.add(code(package))
    edit(package / "job.py", "value(job, Far)", "value(job, Far, 1)")
    assert len(seen | {code(package)}) == 4


def test_plumbing_and_what_only_plumbing_reaches_is_not(package: Path) -> None:
    before = code(package)
    edit(package / "gradfaith" / "storage" / "tables.py", "= 1", "= 2")
    edit(package / "gradfaith" / "storage" / "unseen.py", "= 1", "= 2")
    assert code(package) == before


def test_what_a_script_tells_the_frame_of_a_job_is_not_and_what_it_asks_is(package: Path) -> None:
    before = code(package)
    edit(
        package / "job.py",
        "job = snakemake\n",
        "job = snakemake\ngradfaith.runtime.job.discard_training_state(job.input.card)\n",
    )
    assert code(package) == before
    edit(
        package / "job.py",
        "gradfaith.runtime.job.discard_training_state(",
        "x = gradfaith.runtime.job.discard_training_state(",
    )
    assert code(package) != before


def test_a_touch_or_another_folder_changes_nothing(package: Path, tmp_path_factory, monkeypatch) -> None:
    before = code(package)
    for path in package.rglob("*.py"):
        os.utime(path, (1, 1))
    assert code(package) == before
    moved = tmp_path_factory.mktemp("clone") / "there"
    package.rename(moved)
    monkeypatch.setattr(code_digest, "PACKAGE", moved / "gradfaith")
    assert code(moved) == before


def test_files_named_beside_the_script_count_in_any_order(package: Path) -> None:
    alone, both = code(package), code(package, "metrics/method.py", "storage/unseen.py")
    assert both == code(package, "storage/unseen.py", "metrics/method.py") != alone
    edit(package / "gradfaith" / "metrics" / "method.py", "= 1", "= 2")
    assert code(package) == alone
    assert code(package, "metrics/method.py", "storage/unseen.py") != both


def test_every_room_and_file_that_is_named_exists(root: Path) -> None:
    package = root / "workflow/gradfaith"
    assert {path.stem for path in package.iterdir()} >= code_digest.NUMERIC_ROOMS
    assert all(package.joinpath(*name.split(".")).with_suffix(".py").is_file() for name in code_digest.PLUMBING)
