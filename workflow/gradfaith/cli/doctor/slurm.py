"""Check SLURM for `gradfaith doctor`: does it answer, does it know what a profile names, and do the jobs of a study fit?

    check_slurm      a controller answers, the executor is installed, SLURM has what profiles/slurm names
    check_profile    with `--profile`: what each rule's jobs request, against the limits of their partition

SLURM's commands can be installed without a cluster behind them, and it is not known whether the profile will be used. So a
missing controller is `broken` only inside a SLURM job, or where a profile is named.

This module also defines `Finding`, the result of one check of the doctor.
"""

import importlib.metadata
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from gradfaith.cli import slurm_profile
from gradfaith.cli.slurm_profile import Cluster, Partition, format_minutes, run_command
from gradfaith.cli.snakemake_process import DagJob, list_jobs
from gradfaith.dag.job_work import rule_family

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


PROFILE = slurm_profile.PROFILE
INIT = "gradfaith init --profile slurm"
RESOURCE_NOUNS = {"slurm_partition": "partition", "gpu_model": "GPU model", "slurm_account": "account of yours"}
ONLY_WITH_PROFILE = "It matters only with `--workflow-profile slurm`"


def check_slurm(root: Path) -> Iterator[Finding]:
    """Check that a controller answers, the executor is installed, and SLURM knows what the profile names."""
    if shutil.which("sbatch") is None:
        yield Finding("SLURM", "well", "none here, and none needed unless profiles/slurm is used")
        return
    _, answer = run_command("scontrol", "ping")
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
        yield from _compare_with_slurm(
            yaml.safe_load(profile.read_text(encoding="utf-8")) or {}, slurm_profile.read_cluster()
        )


def check_profile(name: str, study_file: str, root: Path) -> Iterator[Finding]:
    """Check every rule of a study against the partition that a SLURM profile sends its jobs to."""
    file = root / "profiles" / name / "config.yaml"
    if not file.is_file():
        known = ", ".join(sorted(path.parent.name for path in root.glob("profiles/*/config.yaml")))
        yield Finding("profile", "broken", f"there is no {file.relative_to(root)}", f"Name one of: {known}.")
        return
    profile = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    if profile.get("executor") != "slurm":
        yield Finding("profile", "well", f"{name} submits nothing to SLURM: there are no limits to compare with")
        return
    cluster = slurm_profile.read_cluster()
    if not cluster.partitions:
        fix = "Call this on a login node of the cluster."
        yield Finding("profile", "broken", "; ".join(cluster.unanswered) or "SLURM has no partition", fix)
        return
    attempts = int(profile.get("retries") or 0) + 1
    families: dict[str, list[DagJob]] = {}
    for job in list_jobs(root, study_file, ("--workflow-profile", str(file.parent))):
        families.setdefault(rule_family(job.rule), []).append(job)
    for family, jobs in families.items():
        yield _check_rule(family, jobs, cluster, attempts)
    yield from (Finding("profile", "doubtful", f"not answered: {line}") for line in cluster.unanswered)


def _check_rule(family: str, jobs: Sequence[DagJob], cluster: Cluster, attempts: int) -> Finding:
    """Check the largest requests of a rule's jobs."""
    resources = [job.resources for job in jobs]
    most = {key: max((_number(one.get(key)) for one in resources), default=0) for key in ("mem_mb", "runtime", "gpu")}
    threads = max(job.threads for job in jobs)
    name = str(resources[0].get("slurm_partition") or "").strip("'\"")
    partition = (cluster.partitions or {}).get(name) if name else cluster.default
    request = f"{most['mem_mb']:g} MB, {format_minutes(most['runtime'])}, {threads} core{'s' * (threads > 1)}"
    request += f", {most['gpu']:g} {resources[0].get('gpu_model') or ''} GPU".replace("  ", " ") if most["gpu"] else ""
    if partition is None:
        found = f"there is no partition {name}" if name else "no partition is named, and SLURM has no default"
        return Finding(f"rule {family}", "broken", f"{found} (requests {request})", INIT)
    wrong = list(_problems(most, threads, resources[0], partition, cluster))
    late = [
        f"attempt {attempts} requests {word}"
        for word, exceeds in (
            (
                f"{attempts * most['mem_mb']:g} MB of {partition.memory_mb}",
                attempts * most["mem_mb"] > partition.memory_mb,
            ),
            (
                f"{format_minutes(attempts * most['runtime'])} of {format_minutes(partition.minutes)}",
                attempts * most["runtime"] > partition.minutes,
            ),
        )
        if exceeds
    ]
    where = f"{request} in partition {partition.name}"
    if wrong:
        return Finding(f"rule {family}", "broken", f"{where}: {'; '.join(wrong)}", FIX_REQUEST)
    if late:
        return Finding(f"rule {family}", "doubtful", f"{where}; {' and '.join(late)}", FIX_REQUEST)
    return Finding(f"rule {family}", "well", where)


FIX_REQUEST = f"Lower `compute:` in the study, or name another partition: `{INIT}`, or edit the profile."


def _problems(
    most: Mapping[str, float], threads: int, resources: Mapping[str, Any], partition: Partition, cluster: Cluster
) -> Iterator[str]:
    """Yield what SLURM would refuse or never start."""
    model, account = (str(resources.get(key) or "").strip("'\"") for key in ("gpu_model", "slurm_account"))
    if not partition.up:
        yield "the partition is down"
    if most["mem_mb"] > partition.memory_mb:
        yield f"no node has more than {partition.memory_mb} MB"
    if most["runtime"] > partition.minutes:
        yield f"the time limit is {format_minutes(partition.minutes)}"
    if threads > partition.cores:
        yield f"no node has more than {partition.cores} cores"
    if most["gpu"] and not partition.gpus:
        yield "the partition has no GPU"
    elif most["gpu"] and model and model not in partition.gpus:
        yield f"the partition has no GPU {model}, but {', '.join(filter(None, partition.gpus)) or 'GPUs without a model'}"
    if account and cluster.accounts is not None and account.lower() not in map(str.lower, cluster.accounts):
        yield f"there is no account {account} of yours, but {', '.join(cluster.accounts)}"


def _number(value: object) -> float:
    """Return a resource as a number; 0 if it is none, or not known before the job runs."""
    return float(value) if isinstance(value, int | float) else 0.0


def _report_no_controller(output: Sequence[str]) -> Finding:
    found = f"no controller answers ({output[-1] if output else 'no message'})"
    if "SLURM_JOB_ID" in os.environ:
        return Finding("SLURM", "broken", f"{found}, and this is one of its jobs", "Ask the cluster's administrators.")
    if output and "configuration source" in output[-1]:  # its commands found no slurm.conf, and no host that has one
        return Finding("SLURM", "well", "installed and not configured; none needed unless profiles/slurm is used")
    return Finding("SLURM", "doubtful", found, f"{ONLY_WITH_PROFILE}: then ask the cluster's administrators.")


def _compare_with_slurm(profile: Mapping[str, Any], cluster: Cluster) -> Iterator[Finding]:
    """Yield one finding if the profile names what SLURM does not have."""
    known: dict[str, set[str]] = {}
    if cluster.partitions is not None:
        models = {model for one in cluster.partitions.values() for model in one.gpus if model}
        known |= {"slurm_partition": set(cluster.partitions), "gpu_model": models}
    if cluster.accounts is not None:
        known["slurm_account"] = set(cluster.accounts)
    unknown = {key: sorted(names_in_profile(profile, key) - names) for key, names in known.items()}
    if wrong := {key: names for key, names in unknown.items() if names}:
        found = "; ".join(f"no {RESOURCE_NOUNS[key]} {', '.join(names)}" for key, names in wrong.items())
        there = "; ".join(f"{key}: there are {', '.join(sorted(known[key])) or 'none'}" for key in wrong)
        yield Finding("SLURM", "broken", f"{PROFILE} names {found}", f"`{INIT}`, or edit the profile. {there}.")


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
