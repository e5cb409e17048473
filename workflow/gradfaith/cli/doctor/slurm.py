"""Check SLURM for `gradfaith doctor`: whether it answers and knows what profiles/slurm names.

The profile names partitions, GPU models and accounts.

SLURM's commands can be installed without a cluster behind them, and it is not known whether the profile will
be used. So a missing controller is `broken` only inside a SLURM job. If SLURM does not know a value that is
still as the profile was shipped, the value was not edited yet (`doubtful`); any other unknown value is wrong
(`broken`).

This module also defines `Finding`, the result of one check of the doctor.
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

State = Literal["well", "doubtful", "broken"]


@dataclass(frozen=True)
class Finding:
    """The result of one check. `broken` stops or spoils a run; `doubtful` may be intended."""

    check: str
    state: State
    found: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.state:<8}  {self.check}: {self.found}" + (f"\n          {self.fix}" if self.fix else "")


PROFILE = Path("profiles/slurm/config.yaml")
SHIPPED_VALUES = {
    "slurm_partition": {"cpu", "gpu"},
    "gpu_model": {"a100"},
    "slurm_account": {"lab"},
}  # its lines marked EDIT
RESOURCE_NOUNS = {"slurm_partition": "partition", "gpu_model": "GPU model", "slurm_account": "account of yours"}
ONLY_WITH_PROFILE = "It matters only with `--workflow-profile slurm`"
TIMEOUT_SECONDS = 20  # seconds that SLURM may take to answer


def check_slurm(root: Path) -> Iterator[Finding]:
    """Check that a controller answers, the executor is installed, and SLURM knows what the profile names."""
    if shutil.which("sbatch") is None:
        yield Finding("SLURM", "well", "none here, and none needed unless profiles/slurm is used")
        return
    _, answer = _run_command("scontrol", "ping")
    if not re.search(r"\bUP\b", answer):  # with one of two controllers down it ends with an error
        yield _report_no_controller([line for line in answer.splitlines() if not line.startswith("*")])  # no banners
        return
    try:
        version = importlib.metadata.version("snakemake-executor-plugin-slurm")
        yield Finding("SLURM", "well", f"the controller answers, executor {version}")
    except importlib.metadata.PackageNotFoundError:
        fix = f"{ONLY_WITH_PROFILE}: pip install -r envs/run.txt"
        yield Finding("SLURM", "doubtful", "Snakemake's executor for it is not installed", fix)
    profile = root / PROFILE
    if profile.is_file():
        yield from _compare_with_slurm(yaml.safe_load(profile.read_text(encoding="utf-8")) or {})


def _report_no_controller(output: Sequence[str]) -> Finding:
    found = f"no controller answers ({output[-1] if output else 'nothing said'})"
    if "SLURM_JOB_ID" in os.environ:
        return Finding("SLURM", "broken", f"{found}, and this is one of its jobs", "Ask who runs the cluster.")
    if output and "configuration source" in output[-1]:  # its commands found no slurm.conf, and no host that has one
        return Finding("SLURM", "well", "installed and not configured; none needed unless profiles/slurm is used")
    return Finding("SLURM", "doubtful", found, f"{ONLY_WITH_PROFILE}: then ask who runs the cluster.")


def _compare_with_slurm(profile: Mapping[str, Any]) -> Iterator[Finding]:
    known = {key: names for key, names in _list_resources().items() if names is not None}
    unknown = {key: sorted(names_in_profile(profile, key) - names) for key, names in known.items()}
    for shipped in (True, False):
        wrong = {
            key: [name for name in names if (name in SHIPPED_VALUES[key]) is shipped] for key, names in unknown.items()
        }
        wrong = {key: names for key, names in wrong.items() if names}
        if not wrong:
            continue
        found = "; ".join(f"no {RESOURCE_NOUNS[key]} {', '.join(names)}" for key, names in wrong.items())
        fix = "; ".join(f"{key}: there are {', '.join(sorted(known[key])) or 'none'}" for key in wrong)
        if shipped:
            found = f"{found} (so {PROFILE} came, with lines to edit)"
            fix = f"{ONLY_WITH_PROFILE}: edit the lines marked EDIT before. {fix}."
        else:
            fix = f"Edit {PROFILE}. {fix}."
        yield Finding("SLURM", "doubtful" if shipped else "broken", found, fix)


def _list_resources() -> dict[str, set[str] | None]:
    """Return what SLURM has of each kind of resource; None if it does not tell."""
    answered, partitions = _run_command("sinfo", "-a", "-h", "-o", "%P")
    saw, resources = _run_command("sinfo", "-a", "-h", "-o", "%G")
    listed, accounts = _run_command(
        "sacctmgr", "-n", "-P", "show", "associations", f"user={os.environ.get('USER', '')}", "format=account"
    )
    return {
        "slurm_partition": {name.rstrip("*") for name in partitions.split()} if answered else None,
        "gpu_model": set(re.findall(r"\bgpu:([A-Za-z][^:,(\s]*)", resources)) if saw else None,
        "slurm_account": set(accounts.split()) or None if listed else None,  # many clusters keep no accounts
    }


def names_in_profile(profile: Mapping[str, Any], key: str) -> set[str]:
    """Return the plain names that a profile gives to a resource, by default or for a rule, without expressions."""
    defaults, rules = profile.get("default-resources") or [], profile.get("set-resources") or {}
    values: list[object] = [_parse_resources(own).get(key) for own in (defaults, *rules.values())]
    names = (word.strip(" '\"") for value in values if value for word in str(value).strip(" '\"").split(","))
    return {name for name in names if re.fullmatch(r"[\w.@+-]+", name)}


def _parse_resources(resources: Mapping[str, object] | Iterable[object]) -> dict[str, object]:
    if isinstance(resources, Mapping):
        return dict(resources)
    return {key.strip(): value for key, _, value in (str(one).partition("=") for one in resources)}


def _run_command(*command: str) -> tuple[bool, str]:
    """Run a command; return whether it succeeded, and its output."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
    except FileNotFoundError:
        return False, f"there is no {command[0]}"
    except subprocess.TimeoutExpired:
        return False, f"{command[0]} said nothing for {TIMEOUT_SECONDS} s"
    if done.returncode == 0:
        return True, done.stdout.strip()
    return False, done.stdout.strip() or done.stderr.strip()
