"""What SLURM says of itself and of profiles/slurm: its partitions, GPU models and accounts beside those of the profile.

SLURM's commands may be there without a cluster behind them, and whether the profile will be used nobody knows: without a
controller that is broken only inside a SLURM job. A value as the profile came, where SLURM knows none such, was not
edited yet; another one that it does not know is wrong.

One thing that the doctor looked at.
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
    """Broken is what stops a run or spoils it; doubtful is what may be meant."""

    what: str
    state: State
    found: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.state:<8}  {self.what}: {self.found}" + (f"\n          {self.mend}" if self.mend else "")


PROFILE = Path("profiles/slurm/config.yaml")
SHIPPED = {"slurm_partition": {"cpu", "gpu"}, "gpu_model": {"a100"}, "slurm_account": {"lab"}}  # its lines marked EDIT
WORDS = {"slurm_partition": "partition", "gpu_model": "GPU model", "slurm_account": "account of yours"}
UNUSED = "It matters only with `--workflow-profile slurm`"
PATIENCE = 20  # seconds that SLURM may take to answer


def examine(root: Path) -> Iterator[Finding]:
    """A controller answers, the executor is installed, and SLURM knows what the profile names."""
    if shutil.which("sbatch") is None:
        yield Finding("SLURM", "well", "none here, and none needed unless profiles/slurm is used")
        return
    _, answer = _asked("scontrol", "ping")
    if not re.search(r"\bUP\b", answer):  # with one of two controllers down it ends with an error
        yield _silent([line for line in answer.splitlines() if not line.startswith("*")])  # no banners
        return
    try:
        version = importlib.metadata.version("snakemake-executor-plugin-slurm")
        yield Finding("SLURM", "well", f"the controller answers, executor {version}")
    except importlib.metadata.PackageNotFoundError:
        mend = f"{UNUSED}: pip install -r envs/run.txt"
        yield Finding("SLURM", "doubtful", "Snakemake's executor for it is not installed", mend)
    profile = root / PROFILE
    if profile.is_file():
        yield from _compared(yaml.safe_load(profile.read_text(encoding="utf-8")) or {})


def _silent(said: Sequence[str]) -> Finding:
    found = f"no controller answers ({said[-1] if said else 'nothing said'})"
    if "SLURM_JOB_ID" in os.environ:
        return Finding("SLURM", "broken", f"{found}, and this is one of its jobs", "Ask who runs the cluster.")
    if said and "configuration source" in said[-1]:  # its commands found no slurm.conf, and no host that has one
        return Finding("SLURM", "well", "installed and not configured; none needed unless profiles/slurm is used")
    return Finding("SLURM", "doubtful", found, f"{UNUSED}: then ask who runs the cluster.")


def _compared(profile: Mapping[str, Any]) -> Iterator[Finding]:
    known = {key: names for key, names in _known().items() if names is not None}
    strange = {key: sorted(named(profile, key) - names) for key, names in known.items()}
    for kept in (True, False):
        own = {key: [name for name in names if (name in SHIPPED[key]) is kept] for key, names in strange.items()}
        own = {key: names for key, names in own.items() if names}
        if not own:
            continue
        found = "; ".join(f"no {WORDS[key]} {', '.join(names)}" for key, names in own.items())
        there = "; ".join(f"{key}: there are {', '.join(sorted(known[key])) or 'none'}" for key in own)
        if kept:
            found = f"{found} (so {PROFILE} came, with lines to edit)"
            there = f"{UNUSED}: edit the lines marked EDIT before. {there}."
        else:
            there = f"Edit {PROFILE}. {there}."
        yield Finding("SLURM", "doubtful" if kept else "broken", found, there)


def _known() -> dict[str, set[str] | None]:
    """What SLURM has of each kind; None, where it does not say."""
    answered, partitions = _asked("sinfo", "-a", "-h", "-o", "%P")
    saw, resources = _asked("sinfo", "-a", "-h", "-o", "%G")
    listed, accounts = _asked(
        "sacctmgr", "-n", "-P", "show", "associations", f"user={os.environ.get('USER', '')}", "format=account"
    )
    return {
        "slurm_partition": {name.rstrip("*") for name in partitions.split()} if answered else None,
        "gpu_model": set(re.findall(r"\bgpu:([A-Za-z][^:,(\s]*)", resources)) if saw else None,
        "slurm_account": set(accounts.split()) or None if listed else None,  # many clusters keep no accounts
    }


def named(profile: Mapping[str, Any], key: str) -> set[str]:
    """The plain names that a profile gives to a resource, by default or for a rule; an expression is no name."""
    defaults, rules = profile.get("default-resources") or [], profile.get("set-resources") or {}
    said: list[object] = [_pairs(own).get(key) for own in (defaults, *rules.values())]
    names = (word.strip(" '\"") for value in said if value for word in str(value).strip(" '\"").split(","))
    return {name for name in names if re.fullmatch(r"[\w.@+-]+", name)}


def _pairs(said: Mapping[str, object] | Iterable[object]) -> dict[str, object]:
    if isinstance(said, Mapping):
        return dict(said)
    return {key.strip(): value for key, _, value in (str(one).partition("=") for one in said)}


def _asked(*command: str) -> tuple[bool, str]:
    """Whether a command answered, and what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except FileNotFoundError:
        return False, f"there is no {command[0]}"
    except subprocess.TimeoutExpired:
        return False, f"{command[0]} said nothing for {PATIENCE} s"
    if done.returncode == 0:
        return True, done.stdout.strip()
    return False, done.stdout.strip() or done.stderr.strip()
