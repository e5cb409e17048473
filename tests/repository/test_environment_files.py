"""One set of versions: the pins of pip, those of conda, and the ranges of the package agree."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CONDA = {
    "pytorch-cpu": "torch",
    "pytorch-gpu": "torch",
    "matplotlib-base": "matplotlib",
    "snakemake-minimal": "snakemake",
}


def pins(path: Path) -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    pairs = [re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][\w.]*)", line) for line in lines if line]
    assert all(pairs), f"{path} holds more than exact pins"
    found = {canonicalize_name(pair[1]): pair[2] for pair in pairs if pair}
    assert len(found) == len(pairs), f"{path} pins a package twice"
    return found


def declared(root: Path) -> dict[str, list[Requirement]]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    groups = {"run": project["dependencies"], **project["optional-dependencies"]}
    return {group: [Requirement(line) for line in lines] for group, lines in groups.items()}


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_conda_has_the_versions_of_pip(root: Path, name: str) -> None:
    asked = yaml.safe_load((root / f"envs/{name}.yaml").read_text())["dependencies"]
    pairs = [line.split(" =") for line in asked]
    found = {CONDA.get(package, package): version for package, version in pairs if package != "python"}
    run = pins(root / "envs/run.txt")
    assert found == {package: run.get(package) for package in found}
    direct = {canonicalize_name(one.name) for one in declared(root)["run"]}
    assert direct <= set(found), f"missing in envs/{name}.yaml: {direct - set(found)}"


@pytest.mark.parametrize("group", ["run", "cluster", "test", "lint", "docs"])
def test_every_direct_dependency_is_pinned_within_its_range(root: Path, group: str) -> None:
    more = "run" if group == "cluster" else group  # everybody gets the executor of SLURM: it brings nothing else
    pinned = pins(root / "envs/run.txt") | pins(root / f"envs/{more}.txt")
    for one in declared(root)[group]:
        version = pinned.get(canonicalize_name(one.name))
        assert version is not None, f"{one.name} has no pin"
        assert one.specifier.contains(version), f"{one} does not admit {version}"


def test_requirements_are_the_pins_of_a_run_and_the_package_itself(root: Path) -> None:
    lines = [line for line in (root / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines == ["-r envs/run.txt", "-e ."]
    direct = {canonicalize_name(one.name) for one in declared(root)["run"]}
    assert direct <= set(pins(root / lines[0].removeprefix("-r ")))


@pytest.mark.parametrize("group", ["test", "lint", "docs", "peers"])
def test_no_package_is_pinned_to_two_versions(root: Path, group: str) -> None:
    run, more = pins(root / "envs/run.txt"), pins(root / f"envs/{group}.txt")
    assert not {name: (run[name], more[name]) for name in run.keys() & more.keys() if run[name] != more[name]}


def test_the_gpu_environment_differs_in_torch_s_build_only(root: Path) -> None:
    cpu, gpu = (
        set(yaml.safe_load((root / f"envs/{name}.yaml").read_text())["dependencies"]) for name in ("cpu", "gpu")
    )
    assert {line.split(" =")[0] for line in cpu ^ gpu} == {"pytorch-cpu", "pytorch-gpu"}
