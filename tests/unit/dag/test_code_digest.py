"""The digest follows what computes a number, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
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


# What versions of Python parse into different trees: f-strings above all, empty fields, functions, unpacked dictionaries.
ODD = r'''"""Words."""
import math
from collections.abc import Mapping

type_of = {**{"a": 1}, "b": -2.5e-3}


class Odd(Mapping):
    "Words."
    field: int = 3

    async def far(self, x, /, y=1, *more, z, w=None, **rest) -> "str":
        async with x as y, z:
            return f"a{{b}}{x!r:>{y}.{z}f}" "c" f"{y=}{ {'k': f'{w:%H:%M}'} }" rf"\d{z}"


def chosen(x):
    match x:
        case {"k": [1, *others], **rest} if (n := len(others)) > 1:
            return n
        case Odd(field=0) | None:
            return lambda *, a=b"\xff", **k: (yield)
    try:
        return x[1:, ..., ::2] @ math.pi ** -1 if x else u"\u00e9\U0001FAE8"
    except* (OSError, ValueError) as group:
        raise group from None
'''
ODD_DIGEST = "7725952a8a4e5137"


@pytest.fixture(autouse=True)
def remembered() -> Iterator[None]:
    """What is remembered of a package that only a test has must not reach the next."""
    yield
    forget()


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
    forget()
    return code_digest.digest_code(package / "job.py", *(package / "gradfaith" / name for name in more))


def forget() -> None:
    for cached in (code_digest._source, code_digest._files):
        cached.cache_clear()


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
    for name, parts in code_digest.NUMERIC_PARTS.items():
        text = package.joinpath(*name.split(".")).with_suffix(".py").read_text()
        assert all(f"\ndef {part}(" in text for part in parts)


@pytest.mark.parametrize(
    "line", ["from . import far\n", "from .far import Far\n", "def late():\n    from ..metrics import far\n"]
)
def test_relative_imports_are_followed(package: Path, line: str) -> None:
    edit(package / "job.py", "from gradfaith.metrics.far import Far\n", "Far = 1\n")
    numbers, farther = (package / "gradfaith/metrics" / f"{name}.py" for name in ("numbers", "farther"))
    numbers.write_text(line + numbers.read_text())
    before = code(package)
    edit(farther, "Y = 1", "Y = 2")
    assert code(package) != before


def test_what_a_package_runs_when_it_is_imported_counts(package: Path) -> None:
    before = code(package)
    above = package / "gradfaith/metrics/__init__.py"
    above.write_text('"""Words."""\n')
    assert code(package) == before
    above.write_text("from gradfaith.metrics import method\n")
    seen = {before, code(package)}
    edit(package / "gradfaith/metrics/method.py", "Z = 1", "Z = 2")
    assert len(seen | {code(package)}) == 3


@pytest.fixture
def copied(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real package and its scripts, to be edited."""
    shutil.copytree(root / "workflow/gradfaith", tmp_path / "gradfaith", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(root / "scripts", tmp_path / "scripts")
    monkeypatch.setattr(code_digest, "PACKAGE", tmp_path / "gradfaith")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "old", "new", "counts"),
    [
        pytest.param("runtime/device.py", "allow_tf32 = False", "allow_tf32 = True", True, id="TF32"),
        pytest.param("runtime/device.py", "torch.set_num_threads(threads)", "pass", True, id="threads"),
        pytest.param(
            "runtime/device.py", 'f"device: {device.type}', 'f"on {device.type}', False, id="a line of the log"
        ),
        pytest.param("runtime/device.py", "does not have it", "lacks it", False, id="an error text"),
        pytest.param("models/checkpoint.py", "decoder().eval()", "decoder()", True, id="how a model is loaded"),
        pytest.param("models/checkpoint.py", '"numpy", "safetensors"', '"numpy"', False, id="what a card records"),
        pytest.param("models/weight_file.py", "[:5]", "[:6]", False, id="plumbing"),
    ],
)
def test_of_files_that_mostly_choose_or_read_only_what_decides_numbers_counts(
    copied: Path, file: str, old: str, new: str, counts: bool
) -> None:
    def digests() -> list[str]:
        forget()
        models = ("explain", "faithfulness", "randomise", "predict")
        return [
            code_digest.digest_code(copied / f"scripts/{name}.py") for name in (*models, "localization", "estimate")
        ]

    before = digests()
    edit(copied / "gradfaith" / file, old, new)
    after = digests()
    assert [one != other for one, other in zip(before, after, strict=True)] == [counts] * 4 + [False] * 2


def interpreters() -> list[str]:
    """Other versions of Python on this machine, from 3.11 on."""
    found = [shutil.which(f"python3.{minor}") for minor in range(11, 16)]
    found += sorted(map(str, Path.home().glob(".pyenv/versions/3.*/bin/python")))
    script = "import sys; print(sys.version_info[:2] >= (3, 11) and sys.version_info[:2])"
    versions = {}
    for path in filter(None, found):
        done = subprocess.run([path, "-c", script], capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.strip() != "False":
            versions.setdefault(done.stdout.strip(), path)
    versions.pop(str(sys.version_info[:2]), None)
    return list(versions.values())


def test_every_version_of_python_finds_the_same_digests(root: Path, tmp_path: Path) -> None:
    """The sample's digest stands here, so that a version that no machine of ours has is tested where somebody has it."""
    odd = tmp_path / "odd.py"
    odd.write_text(ODD)
    assert code_digest.digest_code(odd) == ODD_DIGEST
    script = (
        "import json, sys; from pathlib import Path; from gradfaith.dag import code_digest; "
        "print(json.dumps({path: code_digest.digest_code(Path(path)) for path in sys.argv[1:]}))"
    )
    files = [odd, *sorted((root / "scripts").glob("*.py")), *sorted((root / "workflow/gradfaith").rglob("*.py"))]
    environment = {**os.environ, "PYTHONPATH": str(root / "workflow"), "PYTHONDONTWRITEBYTECODE": "1"}
    for python in interpreters():
        done = subprocess.run([python, "-c", script, *map(str, files)], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {str(file): code_digest.digest_code(file) for file in files}, python
