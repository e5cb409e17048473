"""Profiles say what the rules need: every rule that chooses a device has a GPU in each of them, and SLURM's names nothing of one cluster."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradfaith.cli import slurm_profile

PROFILES = ("slurm", "workstation", "laptop")


def read(root: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((root / f"profiles/{name}/config.yaml").read_text())
    return found


def blocks(root: Path) -> dict[str, str]:
    """Return rule -> its text, for the rules with a name of their own."""
    return {
        block.partition(":")[0]: block.partition("\n\n\n")[0]
        for file in (root / "rules").glob("*.smk")
        for block in re.split(r"^\s*rule ", file.read_text(), flags=re.M)[1:]
    }


def rules_with_a_device(root: Path) -> set[str]:
    """Those that request a GPU, as the rules' files say."""
    found = set()
    for file in (root / "rules").glob("*.smk"):
        for block in re.split(r"^\s*rule ", file.read_text(), flags=re.M)[1:]:
            if re.search(r"job_resources\.(gpu|training)\(\)", block.partition("\n\n\n")[0]):
                found.add(block.partition(":")[0])
    return found


@pytest.mark.parametrize("name", PROFILES)
def test_each_of_them_asks_for_one_gpu(root: Path, name: str) -> None:
    asked = read(root, name)["set-resources"]
    assert set(asked) == rules_with_a_device(root)
    assert {rule["gpu"] for rule in asked.values()} == {1}


@pytest.mark.parametrize("name", [*PROFILES, "default"])
def test_code_counts_by_digest_wherever_it_runs(root: Path, name: str) -> None:
    profile = read(root, name)
    assert profile["rerun-triggers"] == ["mtime", "params", "input", "software-env"]
    assert profile["rerun-incomplete"] is True


def test_the_default_profile_asks_for_nothing_in_a_rule_s_place(root: Path) -> None:
    """With `--profile slurm` its keys are laid over that profile's: a GPU's partition would be gone."""
    assert not {"set-resources", "default-resources"} & set(read(root, "default"))


def test_slurm_has_a_place_for_what_init_writes_and_names_nothing_of_a_cluster(root: Path) -> None:
    text = (root / slurm_profile.PROFILE).read_text()
    assert text.count(f"\n{slurm_profile.BEGIN}\n") == text.count(f"\n{slurm_profile.END}\n") == 1
    profile = read(root, "slurm")
    assert profile["slurm-status-command"] == "squeue"
    assert profile["retries"] >= 2
    assert "default-resources" not in profile
    assert {key for rule in profile["set-resources"].values() for key in rule} == {"gpu"}


def test_a_third_attempt_is_a_training_s_last_and_none_is_made_inside_a_submitted_job(root: Path) -> None:
    assert read(root, "slurm")["retries"] == 2
    said = re.findall(r"^ +retries: (.+)$", (root / "rules/models.smk").read_text(), flags=re.M)
    own = "2 if workflow.is_main_process else 0"
    assert said == ["2", "2", own]  # weights and packaged weights, which are never submitted; train


def test_every_key_is_explained(root: Path) -> None:
    said = (root / "profiles/README.md").read_text()
    keys = {key for name in (*PROFILES, "default") for key in read(root, name)} | {"groups", "group-components"}
    keys |= {"slurm_partition", "slurm_account", "gpu_model", "slots_per_gpu"}
    assert not [key for key in sorted(keys) if f"`{key}`" not in said]


def test_what_was_killed_on_a_cluster_is_resumed_there(root: Path) -> None:
    """Without its profile the whole study would compute on the login node."""

    def said(*words: str) -> list[str]:
        command = ["make", "-n", "-s", "-o", ".venv/run", "resume", *words]
        lines = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
        return [" ".join(line.partition('PATH"')[2].split()) for line in lines]

    assert said() == ["gradfaith unlock", "snakemake"]
    study = "config/studies/paper.yaml"
    assert said(f"STUDY={study}", "PROFILE=slurm") == [
        f"gradfaith unlock {study}", f"snakemake --workflow-profile slurm --configfile {study}",
    ]  # fmt: skip


def test_downloads_and_what_takes_a_moment_stay_on_the_submitting_machine(root: Path) -> None:
    own = {rule for rule, text in blocks(root).items() if "localrule: True" in text}
    assert {"weights", "packaged_weights", "verdict", "provenance"} <= own
    assert not {"claims", "estimate", "meta", "train"} & own


def test_every_rule_that_is_submitted_asks_for_the_memory_that_a_study_says(root: Path) -> None:
    """What does not fit a study's images or scores is raised in the study; the rules that stay on the submitting machine are small."""
    for file in (root / "rules").glob("*.smk"):
        for block in re.split(r"^\s*rule ", file.read_text(), flags=re.M)[1:]:
            own = block.partition("\n\n\n")[0]
            if "script:" in own and "localrule: True" not in own:
                assert re.search(r"job_resources\.(cpu|gpu|training)\(\)", own), own.partition(":")[0]
