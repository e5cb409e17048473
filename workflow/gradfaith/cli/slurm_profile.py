"""Ask SLURM what a cluster has, and write profiles/slurm/config.yaml for it.

    sinfo       partitions: whether they are up, their time limit, and memory, cores and GPUs of their nodes
    sacctmgr    the accounts of this user, the default account first

Jobs without a GPU go to the default partition. Jobs with one go to a partition that has GPUs: to one that is named after them
if there is one, else to the one with the longest time limit. A GPU model is written only where there is no other. Only the
lines between BEGIN and END of the profile are written; they state what SLURM answered, and what could not be asked.
"""

import getpass
import math
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from gradfaith.cli.run_progress import format_table
from gradfaith.errors import ClusterUnknown
from gradfaith.storage import atomic

PROFILE = Path("profiles/slurm/config.yaml")
BEGIN, END = "# begin: `gradfaith init --profile slurm` writes these lines", "# end of these lines"
TIMEOUT_SECONDS = 20  # seconds that one of SLURM's commands may take
MINUTES = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
GPU = re.compile(r"\bgpu:(?:([A-Za-z][^:,(\s]*):)?(\d+)")


@dataclass(frozen=True)
class Partition:
    """A partition: its limits, and the best that one of its nodes has."""

    name: str
    default: bool
    up: bool
    minutes: float  # time limit of a job; infinite if there is none
    memory_mb: int
    cores: int
    gpus: Mapping[str, int]  # model -> number on a node; "" for GPUs without a model


@dataclass(frozen=True)
class Cluster:
    """What SLURM answers: nothing is known of what is None."""

    partitions: Mapping[str, Partition] | None = None
    accounts: Sequence[str] | None = None  # of this user, the default one first
    unanswered: Sequence[str] = field(default_factory=tuple)  # what could not be asked, and why

    @property
    def default(self) -> Partition | None:
        """The partition of jobs that name none."""
        return next((one for one in (self.partitions or {}).values() if one.default), None)


def read_cluster() -> Cluster:
    """Ask SLURM for its partitions, and for the accounts of this user."""
    unanswered = []
    seen, nodes = run_command("sinfo", "-a", "-e", "-h", "-o", "%P|%a|%l|%m|%c|%G")
    if not seen:
        unanswered.append(f"partitions: {nodes or 'sinfo failed'}")
    user = getpass.getuser()
    of_user = ("-n", "-P", "show")
    listed, accounts = run_command("sacctmgr", *of_user, "associations", f"user={user}", "format=account")
    if not listed:
        unanswered.append(f"accounts: {accounts or 'sacctmgr failed'}")
    _, default = run_command("sacctmgr", *of_user, "user", user, "format=defaultaccount") if listed else (False, "")
    names = dict.fromkeys([*default.split(), *accounts.split()]) if listed else {}
    return Cluster(
        partitions=_parse_partitions(nodes) if seen else None,
        accounts=tuple(names) or None,  # many clusters keep no accounts
        unanswered=tuple(" ".join(line.split()) for line in unanswered),
    )


def run_command(*command: str) -> tuple[bool, str]:
    """Run one of SLURM's commands; return whether it succeeded, and its output."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
    except FileNotFoundError:
        return False, f"there is no {command[0]}"
    except subprocess.TimeoutExpired:
        return False, f"{command[0]} gave no answer within {TIMEOUT_SECONDS} s"
    if done.returncode == 0:
        return True, done.stdout.strip()
    return False, done.stdout.strip() or done.stderr.strip()


def write_profile(root: Path) -> list[str]:
    """Write the lines of the profile that depend on the cluster; return what was chosen, for a reader."""
    cluster, path = read_cluster(), root / PROFILE
    if not cluster.partitions:
        raise ClusterUnknown(
            problem=f"SLURM names no partition ({'; '.join(cluster.unanswered) or 'sinfo lists none'}).",
            reason="The command writes the partitions, GPUs and limits that SLURM reports into the profile.",
            fix="Call `gradfaith init --profile slurm` on a login node of the cluster, or edit profiles/slurm/config.yaml by hand.",
        )
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    old, end, after = rest.partition(END)
    if not (begin and end):
        raise ClusterUnknown(
            problem=f'{PROFILE} has no lines "{BEGIN}" and "{END}".',
            reason="Only what is between these lines is written, so that your other edits stay.",
            fix=f"Restore the file: `git checkout {PROFILE}`.",
        )
    rules = list((yaml.safe_load(old) or {}).get("set-resources") or {})
    choice = choose(cluster)
    atomic.write_text(path, "".join([before, "\n".join([BEGIN, *_lines(cluster, choice, rules), END]), after]))
    return _describe(cluster, choice)


@dataclass(frozen=True)
class Choice:
    """Where jobs go, and who pays."""

    partition: Partition
    gpu_partition: Partition | None  # None: no partition has a GPU
    gpu_model: str  # "": any
    account: str  # "": SLURM's default


def choose(cluster: Cluster) -> Choice:
    """Choose partitions, GPU model and account."""
    every = list((cluster.partitions or {}).values())
    up = [one for one in every if one.up] or every
    own = next((one for one in up if one.default), None)
    partition = own or max(up, key=lambda one: (not one.gpus, one.minutes))
    with_gpu = [one for one in up if one.gpus]
    gpu = max(with_gpu, key=lambda one: ("gpu" in one.name.lower(), one.minutes, one.default), default=None)
    models = list(gpu.gpus) if gpu else []
    return Choice(partition, gpu, models[0] if len(models) == 1 else "", (cluster.accounts or [""])[0])


def _lines(cluster: Cluster, choice: Choice, rules: Sequence[str]) -> list[str]:
    heads = ["partition", "state", "time limit", "memory", "cores", "GPUs of a node"]
    rows = [
        [f"{one.name}{'*' * one.default}", "up" if one.up else "down", format_minutes(one.minutes), f"{one.memory_mb} MB",
         str(one.cores), format_gpus(one.gpus)]
        for one in (cluster.partitions or {}).values()
    ]  # fmt: skip
    lines = [f"# What SLURM answered on {time.strftime('%Y-%m-%d')} (* is the default partition):"]
    lines += [f"#   {line}" for line in format_table([heads, *rows])]
    lines += [f"# Not answered: {line}" for line in cluster.unanswered]
    if cluster.accounts and len(cluster.accounts) > 1:
        lines.append(f"# Accounts of {getpass.getuser()}: {', '.join(cluster.accounts)}")
    lines += ["default-resources:", f"  - slurm_partition='{choice.partition.name}'"]
    lines += [f"  - slurm_account='{choice.account}'"] if choice.account else []
    first, *others = rules
    lines += ["set-resources:", f"  {first}: &gpu"]
    if choice.gpu_partition is None:
        lines.append("    gpu: 0 # no partition has a GPU: these jobs compute on CPUs")
    else:
        lines += ["    gpu: 1", f"    slurm_partition: {choice.gpu_partition.name}"]
        models = ", ".join(model for model in choice.gpu_partition.gpus if model)
        lines += [f"    gpu_model: {choice.gpu_model}"] if choice.gpu_model else []
        lines += (
            [f"    # gpu_model: one of {models}; without it any will do"] if models and not choice.gpu_model else []
        )
    return [*lines, *(f"  {rule}: *gpu" for rule in others)]


def _describe(cluster: Cluster, choice: Choice) -> list[str]:
    gpu = choice.gpu_partition
    place = f"partition {gpu.name}, {choice.gpu_model or 'any'} GPU" if gpu else "no partition has a GPU, so CPUs"
    return [
        f"wrote {PROFILE}",
        f"jobs without a GPU: partition {choice.partition.name}, limit {format_minutes(choice.partition.minutes)}",
        f"jobs with a GPU: {place}",
        f"account: {choice.account or 'the default of SLURM'}",
        *(f"not answered: {line}" for line in cluster.unanswered),
    ]


def _parse_partitions(text: str) -> dict[str, Partition]:
    """Read sinfo's lines, one per kind of node of a partition; of each quantity the largest counts."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        name, up, limit, memory, cores, gres = line.split("|")
        known = found.get(name.rstrip("*"))
        gpus = dict(known.gpus) if known else {}
        for model, count in GPU.findall(gres):
            gpus[model] = max(gpus.get(model, 0), int(count))
        found[name.rstrip("*")] = Partition(
            name.rstrip("*"),
            name.endswith("*"),
            up == "up",
            parse_minutes(limit),
            max(int(memory.rstrip("+")), known.memory_mb if known else 0),
            max(int(cores.rstrip("+")), known.cores if known else 0),
            gpus,
        )
    return found


def parse_minutes(text: str) -> float:
    """Return the minutes of a time limit as SLURM writes it: infinite, 30:00, 12:00:00, 1-00:00:00."""
    match = MINUTES.fullmatch(text.strip())
    if match is None:
        return math.inf
    days, *rest = match.groups()
    parts = [int(part) for part in rest if part is not None]
    hours, minutes, seconds = [0] * (3 - len(parts)) + parts  # MM:SS without hours
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def format_minutes(minutes: float) -> str:
    """Return a time limit as a person reads it."""
    if math.isinf(minutes):
        return "none"
    hours, rest = divmod(round(minutes), 60)
    return f"{hours} h {rest:02d} min" if hours else f"{rest} min"


def format_gpus(gpus: Mapping[str, int]) -> str:
    """Return the GPUs of a node."""
    return ", ".join(f"{count} {model}".rstrip() for model, count in gpus.items()) or "none"
