"""`gradfaith init --profile slurm` and `doctor --profile slurm`: what is asked, written and compared. SLURM is pretended here."""

import shutil
from pathlib import Path

import pytest
import yaml

from gradfaith.cli import slurm_profile
from gradfaith.cli.doctor import slurm
from gradfaith.cli.slurm_profile import Cluster, Partition
from gradfaith.errors import ClusterUnknown

SINFO = r"""[ "$*" = "-a -e -h -o %P|%a|%l|%m|%c|%G" ] && printf '%s\n' \
    'short*|up|2:00:00|4000|4|(null)' 'long|up|7-00:00:00|64000|16|(null)' \
    'gpu-test|up|30:00|32000|8|gpu:t4:1' 'gpu-main|up|2-00:00:00|128000|32|gpu:a100:4(S:0-1)' \
    'gpu-main|up|2-00:00:00|512000|64|gpu:a100:8' 'old|down|infinite|128000|32|gpu:k80:8,gpu:k40:2'"""
SACCTMGR = (
    r"""case "$*" in *format=account) printf 'ward\nthorax\n';; *format=defaultaccount) printf 'thorax\n';; esac"""
)
NO_ACCOUNTS = "echo 'You are not running a supported accounting_storage plugin' >&2; exit 1"


class Login:
    """A login node: a folder with the shipped profile, and SLURM's commands on the only PATH."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / slurm_profile.PROFILE).parent.mkdir(parents=True)
        shutil.copy(root / slurm_profile.PROFILE, folder / slurm_profile.PROFILE)

    def command(self, name: str, body: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    @property
    def text(self) -> str:
        return (self.folder / slurm_profile.PROFILE).read_text()


@pytest.fixture
def login(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Login:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return Login(tmp_path, root)


def test_the_profile_has_the_cluster_s_partitions_gpu_and_account(login: Login) -> None:
    login.command("sinfo", SINFO)
    login.command("sacctmgr", SACCTMGR)
    before = yaml.safe_load(login.text)
    said = slurm_profile.write_profile(login.folder)
    profile = yaml.safe_load(login.text)
    assert profile["default-resources"] == ["slurm_partition='short'", "slurm_account='thorax'"]
    own = {"gpu": 1, "slurm_partition": "gpu-main", "gpu_model": "a100"}
    assert profile["set-resources"] == dict.fromkeys(before["set-resources"], own)
    assert {key: profile[key] for key in before if key != "set-resources"} == {
        key: before[key] for key in before if key != "set-resources"
    }
    assert "#   gpu-main   up     48 h 00 min   512000 MB  64     8 a100" in login.text
    assert "#   old        down   none" in login.text
    assert "# Accounts of " in login.text
    assert said[2:4] == ["jobs with a GPU: partition gpu-main, a100 GPU", "account: thorax"]
    written = login.text
    slurm_profile.write_profile(login.folder)
    assert login.text == written  # a second call writes the same
    (login.folder / slurm_profile.PROFILE).write_text(written.replace("jobs: 50", "jobs: 7"))
    slurm_profile.write_profile(login.folder)
    assert yaml.safe_load(login.text)["jobs"] == 7  # other edits stay


def test_what_cannot_be_asked_is_a_comment(login: Login) -> None:
    login.command("sinfo", SINFO)
    login.command("sacctmgr", NO_ACCOUNTS)
    assert "not answered: accounts: You are not running a supported" in slurm_profile.write_profile(login.folder)[-1]
    assert "# Not answered: accounts: You are not running a supported accounting_storage plugin" in login.text
    assert yaml.safe_load(login.text)["default-resources"] == ["slurm_partition='short'"]


def test_a_command_that_hangs_is_not_waited_for(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_profile, "TIMEOUT_SECONDS", 0.2)
    login.command("sinfo", SINFO)
    login.command("sacctmgr", "exec /bin/sleep 30")
    assert slurm_profile.read_cluster().unanswered == ("accounts: sacctmgr gave no answer within 0.2 s",)


def test_several_models_are_listed_and_none_is_chosen(login: Login) -> None:
    login.command("sinfo", "printf 'all*|up|infinite|9000|4|gpu:k80:8\\nall*|up|infinite|9000|4|gpu:k40:2\\n'")
    slurm_profile.write_profile(login.folder)
    assert yaml.safe_load(login.text)["set-resources"]["train"] == {"gpu": 1, "slurm_partition": "all"}
    assert "    # gpu_model: one of k80, k40; without it any will do\n" in login.text


def test_without_a_gpu_the_jobs_ask_for_none(login: Login) -> None:
    login.command("sinfo", "printf 'all*|up|infinite|9000|4|(null)\\n'")
    slurm_profile.write_profile(login.folder)
    assert yaml.safe_load(login.text)["set-resources"]["train"] == {"gpu": 0}


def test_where_slurm_does_not_answer_nothing_is_written(login: Login) -> None:
    before = login.text
    with pytest.raises(ClusterUnknown, match=r"SLURM names no partition \(partitions: there is no sinfo; ") as error:
        slurm_profile.write_profile(login.folder)
    assert error.value.fix.startswith("Call `gradfaith init --profile slurm` on a login node")
    assert login.text == before


def test_a_profile_without_the_place_for_it_is_not_overwritten(login: Login) -> None:
    login.command("sinfo", SINFO)
    (login.folder / slurm_profile.PROFILE).write_text("executor: slurm\n")
    with pytest.raises(ClusterUnknown, match="has no lines"):
        slurm_profile.write_profile(login.folder)
    assert login.text == "executor: slurm\n"


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("infinite", float("inf")),
        ("30:00", 30),
        ("1:30:00", 90),
        ("2-00:00:00", 2880),
        ("n/a", float("inf")),
        ("0:30", 0.5),
    ],
)
def test_time_limits_are_read_as_slurm_writes_them(text: str, minutes: float) -> None:
    assert slurm_profile.parse_minutes(text) == minutes


GPU = Partition("gpu", False, True, 120, 4000, 4, {"a100": 2})
CLUSTER = Cluster({"cpu": Partition("cpu", True, True, 60, 8000, 8, {}), "gpu": GPU}, ("thorax",))
FITS = {
    "slurm_partition": "gpu",
    "mem_mb": 1000,
    "runtime": 30,
    "gpu": 1,
    "gpu_model": "a100",
    "slurm_account": "thorax",
}


@pytest.mark.parametrize(
    ("change", "state", "said"),
    [
        ({}, "well", "1000 MB, 30 min, 2 cores, 1 a100 GPU in partition gpu"),
        ({"slurm_partition": "cpu-only"}, "broken", "there is no partition cpu-only"),
        ({"slurm_partition": "cpu"}, "broken", "the partition has no GPU"),
        ({"slurm_partition": None, "gpu": 0, "runtime": 15}, "well", "in partition cpu"),
        ({"mem_mb": 5000}, "broken", "no node has more than 4000 MB"),
        ({"mem_mb": 2000}, "doubtful", "attempt 3 requests 6000 MB of 4000"),
        ({"runtime": 121}, "broken", "the time limit is 2 h 00 min"),
        ({"runtime": 50}, "doubtful", "attempt 3 requests 2 h 30 min of 2 h 00 min"),
        ({"gpu_model": "h100"}, "broken", "the partition has no GPU h100, but a100"),
        ({"slurm_account": "ward"}, "broken", "there is no account ward of yours, but thorax"),
        ({"mem_mb": "<TBD>"}, "well", "0 MB"),
    ],
)
def test_each_rule_is_compared_with_its_partition(change: dict, state: str, said: str) -> None:
    job = slurm.DagJob("train", {}, ("x",), 2, FITS | change, left=True)
    found = slurm._check_rule("train", [job, job], CLUSTER, attempts=3)
    assert (found.check, found.state) == ("rule train", state)
    assert said in found.found


def test_a_profile_that_is_not_there_is_named(tmp_path: Path, root: Path) -> None:
    (found,) = slurm.check_profile("slrum", "config/config.yaml", root)
    assert (found.state, found.found) == ("broken", "there is no profiles/slrum/config.yaml")
    assert "laptop" in found.fix
    (found,) = slurm.check_profile("laptop", "config/config.yaml", root)
    assert found.state == "well"
