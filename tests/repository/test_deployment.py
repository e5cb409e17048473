"""The files that other systems read: the workflow catalogue, GitHub, Docker."""

import os
import re
from pathlib import Path

import yaml


def test_the_catalogue_promises_what_the_rules_have(root: Path) -> None:
    usage = yaml.safe_load((root / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    rules = "".join(path.read_text() for path in sorted((root / "rules").glob("*.smk")))
    ways = usage["software-stack-deployment"]
    assert ways["conda"] is bool(re.search(r"^\s*conda:", rules, re.M))
    assert ways["apptainer"] is bool(re.search(r"^\s*container:", rules, re.M))
    assert usage["report"] is bool(re.search(r"report\(", rules))
    assert (root / "workflow/Snakefile").is_file()


def test_github_runs_what_decides_everywhere(root: Path) -> None:
    job = yaml.safe_load((root / ".github/workflows/ci.yml").read_text())["jobs"]["run"]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands[-1] == ".ci/run"
    assert os.access(root / ".ci/run", os.X_OK)


def test_docker_has_the_environment_and_the_command_of_the_apptainer_image(root: Path) -> None:
    docker, apptainer = ((root / "envs" / name).read_text() for name in ("Dockerfile", "apptainer.def"))
    base = re.findall(r"^(?:FROM|From:) (.+)$", docker + "\n" + apptainer, re.M)
    assert base[0] == base[1]
    for line in (r"printf '.*' > /usr/local/bin/gradfaith", r"pip install .*", r"import torch.*seaborn, snakemake"):
        (first,), (second,) = re.findall(line, docker), re.findall(line, apptainer)
        assert first.rstrip(" \\") == second.rstrip()
