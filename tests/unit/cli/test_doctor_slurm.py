"""What SLURM's commands say of the cluster and of the profile; the commands are pretended."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gradfaith.cli.doctor import slurm
from gradfaith.cli.doctor.slurm import Finding

UP = "echo 'Slurmctld(primary) at head is UP'"
NONE = "echo 'scontrol: fatal: Could not establish a configuration source' >&2; exit 1"
DOWN = "echo 'Slurmctld(primary) at head is DOWN'; echo '***'; echo '** RESTORE **'; exit 1"
SILENT = "echo 'slurm_load_ctl_conf error: Unable to contact slurm controller' >&2; exit 1"
SINFO = r"""printf 'short*|up|2:00:00|4000|2|(null)\nbig|up|1-00:00:00|8000|8|gpu:h100:4(S:0-1)\n'"""
EDITED = {
    "default-resources": ["slurm_partition=short", "slurm_account='thorax'"],
    "set-resources": {"train": {"slurm_partition": "big,short", "gpu_model": "h100"}},
}


class Cluster:
    """A folder with the profile, and commands on the only PATH."""

    def __init__(self, folder: Path, shipped: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / slurm.PROFILE).parent.mkdir(parents=True)
        self.profile(yaml.safe_load(shipped.read_text()))
        self.command("sbatch", "exit 0")

    def command(self, name: str, body: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def profile(self, said: Any) -> None:
        (self.folder / slurm.PROFILE).write_text(yaml.safe_dump(said))

    def found(self) -> list[Finding]:
        return list(slurm.check_slurm(self.folder))


@pytest.fixture
def cluster(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return Cluster(tmp_path, root / slurm.PROFILE)


@pytest.mark.parametrize(
    ("ping", "inside", "state", "said"),
    [
        (NONE, False, "well", "installed and not configured"),
        (SILENT, False, "doubtful", "Unable to contact slurm controller"),
        (DOWN, False, "doubtful", "Slurmctld(primary) at head is DOWN"),
        (None, False, "doubtful", "there is no scontrol"),
        (SILENT, True, "broken", "this is one of its jobs"),
        (NONE, True, "broken", "this is one of its jobs"),
    ],
)
def test_commands_without_a_controller_break_nothing_outside_a_job(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, ping: str | None, inside: bool, state: str, said: str
) -> None:
    if ping:
        cluster.command("scontrol", ping)
    if inside:
        monkeypatch.setenv("SLURM_JOB_ID", "7")
    (found,) = cluster.found()
    assert (found.state, said in found.found) == (state, True), found
    assert ("--workflow-profile slurm" in found.fix) == (state == "doubtful")


def test_the_shipped_profile_names_nothing_that_a_cluster_may_lack(cluster: Cluster, root: Path) -> None:
    profile = yaml.safe_load((root / slurm.PROFILE).read_text())
    assert {key: slurm.names_in_profile(profile, key) for key in slurm.RESOURCE_NOUNS} == {
        key: set() for key in slurm.RESOURCE_NOUNS
    }
    for name, body in {"scontrol": UP, "sinfo": SINFO, "sacctmgr": "printf 'thorax\\n'"}.items():
        cluster.command(name, body)
    assert [one.state for one in cluster.found()] == ["well"]


def test_a_profile_that_names_what_slurm_lacks_is_broken(cluster: Cluster) -> None:
    cluster.command("scontrol", UP)
    cluster.command("sinfo", SINFO)
    cluster.command("sacctmgr", "printf 'thorax\\n'")
    cluster.profile(EDITED)
    assert [one.state for one in cluster.found()] == ["well"]
    wrong = {"train": {"slurm_partition": "huge", "gpu_model": "h200"}}
    cluster.profile({**EDITED, "set-resources": wrong})
    _, found = cluster.found()
    assert (found.state, found.found) == (
        "broken",
        "profiles/slurm/config.yaml names no partition huge; no GPU model h200",
    )
    assert found.fix == (
        "`gradfaith init --profile slurm`, or edit the profile. slurm_partition: there are big, short; gpu_model: there are h100."
    )


def test_what_slurm_does_not_say_is_not_judged(cluster: Cluster) -> None:
    cluster.command("scontrol", UP)
    cluster.command("sinfo", "exit 1")
    cluster.command("sacctmgr", "echo 'You are not running a supported accounting_storage plugin'; exit 1")
    assert [one.state for one in cluster.found()] == ["well"]


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("gpu,gpu2", {"gpu", "gpu2"}),
        ("'gpu'", {"gpu"}),
        ('"gpu, gpu2"', {"gpu", "gpu2"}),
        ("'gpu' if attempt > 1 else 'big'", set()),  # nobody knows before it runs
        ("", set()),
    ],
)
def test_names_are_read_as_slurm_reads_them(said: str, names: set[str]) -> None:
    for profile in (
        {"default-resources": [f"slurm_partition={said}"]},
        {"default-resources": {"slurm_partition": said}},
        {"set-resources": {"train": {"slurm_partition": said}}},
    ):
        assert slurm.names_in_profile(profile, "slurm_partition") == names
    assert slurm.names_in_profile({"default-resources": None, "set-resources": None}, "slurm_partition") == set()
