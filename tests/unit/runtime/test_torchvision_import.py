"""A plain Python imports timm once the start-up file is in its environment; only what is missing is declared."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from gradfaith.runtime import torchvision_import as fix

PACKAGES = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]


def run(root: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """Run lines in a Python that reads no start-up file of its environment."""
    paths = [str(root / "workflow"), *PACKAGES]
    text = "\n".join([f"import sys; sys.path[:0] = {paths!r}", *lines])
    return subprocess.run([sys.executable, "-S", "-c", text], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def _operators_missing(root: Path) -> None:
    done = run(root, "import timm")
    if not done.returncode:
        pytest.skip("torchvision's compiled operators can be loaded here, so nothing has to be declared")
    assert "torchvision::nms does not exist" in done.stderr


@pytest.mark.usefixtures("_operators_missing")
def test_the_startup_file_lets_a_plain_python_import_timm(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    answers = iter([False, True, True])
    monkeypatch.setattr(fix, "_timm_can_be_imported", lambda: next(answers))
    fix.main()
    assert fix.STARTUP_FILE in capsys.readouterr().out
    lines = [f"import sys; sys.path += {PACKAGES!r}", f"import site; site.addsitedir({str(tmp_path)!r})",
             "assert not {'torch', 'gradfaith'} & set(sys.modules)", "import timm, torch, torchvision.transforms.v2",
             "assert hasattr(torch.ops.torchvision, 'qnms')", "assert 'gradfaith' not in sys.modules"]  # fmt: skip
    done = subprocess.run([sys.executable, "-S", "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    assert not done.stderr, "a start-up file that fails is only printed"
    for name in (fix.COPY, fix.STARTUP_FILE):
        (tmp_path / name).unlink()
    fix.main()  # it is not needed
    assert not (tmp_path / fix.STARTUP_FILE).exists()


def test_a_file_that_does_not_help_is_taken_away_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(fix, "_timm_can_be_imported", lambda: False)
    with pytest.raises(SystemExit, match="gradfaith doctor"):
        fix.main()
    assert not list(tmp_path.iterdir())


def test_operators_that_exist_are_not_declared_again(root: Path) -> None:
    done = run(root, "import gradfaith.runtime.torchvision_import as fix", "fix.install(); fix.install()",
               "import timm, torch", "known = len(fix._libraries); fix.declare_schemas()",
               "assert len(fix._libraries) == known <= 1",
               "assert sum(isinstance(finder, fix.SchemaFinder) for finder in sys.meta_path) == 1")  # fmt: skip
    assert not done.returncode, done.stderr
