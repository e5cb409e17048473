"""A finished tiny study, made once by Snakemake itself, and copies of it that a test may spoil."""

import shutil
from pathlib import Path

import pytest
from workspace import Workspace, plant


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The tiny study, run to its end; look, but change nothing."""
    space = plant(tmp_path_factory.mktemp("finished"))
    space.snakemake()
    return space


@pytest.fixture
def spoilable(finished: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished study, times kept, to edit."""
    shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    return Workspace(tmp_path / "copy")


@pytest.fixture
def fresh(tmp_path: Path) -> Workspace:
    """The workflow before anything ran."""
    return plant(tmp_path / "fresh")
