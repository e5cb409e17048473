"""Importing a module of the package changes nothing of the process that imports it, in whatever surroundings."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gradfaith.runtime import job

# Third-party packages come first: what they change is not ours. timm comes through `timm_import`, which it needs here.
IMPORTER = """
import importlib, json, logging, os, random, signal, sys, threading, warnings
foreign, own = json.loads(sys.stdin.read())
for name in foreign:
    importlib.import_module(name)
import matplotlib, numpy, torch

def state():
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return {
        "signals": {number.name: str(signal.getsignal(number)) for number in signal.valid_signals() if hasattr(number, "name")},
        "environment": dict(os.environ), "path": list(sys.path), "folder": os.getcwd(), "files": sorted(os.listdir()),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "torch": [torch.get_num_threads(), torch.get_num_interop_threads(), str(torch.get_default_dtype()),
                  torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled()],
        "TF32": [matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic],
        "streams": [str(hash(str(random.getstate()))), str(numpy.random.get_state()[1].tolist()), str(torch.get_rng_state().tolist())],
        "rcParams": {key: str(value) for key, value in dict.items(matplotlib.rcParams)},
        "warnings": list(map(str, warnings.filters)),
        "hooks": [str(sys.excepthook), str(sys.displayhook), str(sys.stdout), str(sys.stderr), str(logging.root.handlers)],
    }

before = state()
for name in own:
    importlib.import_module(name)
after = state()
print(json.dumps({key: [before[key], after[key]] for key in before if before[key] != after[key]}))
"""
THROUGH_TIMM_IMPORT = {"timm", "torchvision"}


def modules(root: Path) -> list[str]:
    files = sorted((root / "workflow").glob("gradfaith/**/*.py"))
    names = (".".join(path.relative_to(root / "workflow").with_suffix("").parts) for path in files)
    return [name.removesuffix(".__init__") for name in names]


def foreign(root: Path) -> list[str]:
    """What the package imports of others, by the names that stand in its files."""
    found = set()
    for path in (root / "workflow/gradfaith").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return sorted(name for name in found if name.split(".")[0] not in {"gradfaith", *THROUGH_TIMM_IMPORT})


@pytest.fixture
def hostile(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell that a job of a dead Snakemake left, with a backend that does not exist."""
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    stale = f"{os.uname().nodename} {gone.pid} 1"
    return {**os.environ, job.PARENT_VARIABLE: stale, "MPLBACKEND": "module://no_such_backend"}


def test_importing_every_module_changes_nothing(root: Path, tmp_path: Path, hostile: dict[str, str]) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o555)
    names = modules(root)
    assert len(names) > 200
    done = subprocess.run(
        [sys.executable, "-c", IMPORTER], input=json.dumps([foreign(root), names]), cwd=folder, env=hostile,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}
    assert done.stdout.count("\n") == 1, "it prints"


def test_a_person_is_answered_in_such_surroundings(hostile: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gradfaith.cli.main", "--help"], env=hostile, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"check +check a study", done.stdout)


def test_every_script_begins_before_it_imports_what_takes_long(root: Path) -> None:
    """Imports take seconds, in which Snakemake can be killed."""
    for script in sorted((root / "scripts").glob("*.py")):
        statements = [ast.unparse(node) for node in ast.parse(script.read_text()).body[1:]]  # after the docstring
        own = [line for line in statements if "gradfaith" in line]
        assert own[:2] == ["import gradfaith.runtime.job", "gradfaith.runtime.job.begin()"], script.name
        before = statements[: statements.index(own[0])]
        assert all(line.split()[1].split(".")[0] in sys.stdlib_module_names for line in before), script.name
