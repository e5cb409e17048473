"""Check before a run what it will need: study, torch, devices, folders, file locks, disk, weights, SLURM, leftovers.

Each finding is `well`, `doubtful` (may be intended) or `broken` (stops a run or makes its results wrong), and names a fix. The
checks are independent: one that fails does not hide the others.
"""

import contextlib
import errno
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from gradfaith.cli import snakemake_process
from gradfaith.cli.cost import forecast
from gradfaith.cli.doctor import slurm
from gradfaith.cli.doctor.slurm import Finding, State
from gradfaith.config import locate
from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import RuleParams
from gradfaith.errors import CannotWrite, GradFaithError
from gradfaith.runtime import gpu_slots
from gradfaith.storage import atomic, paths

LOCK_IS_HELD = 75  # exit status of the child below if the lock has a holder, unlike that of any other error
LOCK_SCRIPT = f"""
import fcntl, sys
file = open(sys.argv[1], "r+")  # network folders lock nothing that is open for reading only
try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit({LOCK_IS_HELD})
"""
MOUNTS = Path("/proc/mounts")
NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}  # errors that tell nothing about locks
FIXES = {  # if a check itself fails
    "torch": "pip install -r envs/run.txt",
    "devices": "Install a torch for this driver (pip install -r envs/run.txt), or write `compute: {device: cpu}` in the study.",
    "folders": "results/, resources/ and .snakemake/ must be folders that you may write to.",
    "file locks": "results/ must be a folder that you may write to.",
    "disk": "results/ must be a folder that you may read; `gradfaith cost` shows what the forecast is from.",
    "weights": "resources/weights/ must be a folder that you may read.",
    "SLURM": f"Correct {slurm.PROFILE}, or ask the cluster's administrators.",
    "profile": f"Correct {slurm.PROFILE}, or ask the cluster's administrators.",
    "earlier run": "results/ and .snakemake/ must be folders that you may read.",
}
MIN_FREE_BYTES = 2e9  # that a disk should have if nothing is known of a study's size


def run_checks(study: str, root: Path, profile: str = "") -> Iterator[Finding]:
    """Run all checks and yield their findings, the study's first.

    Args:
        study: a name or a YAML file.
        root: the project's folder.
        profile: a SLURM profile whose limits the jobs of the study are compared with.
    """
    plan: Plan | None = None
    study_file = study
    try:
        path = locate.study_file(study, root)
        study_file = str(path)
        plan = Plan.read(locate.read_document(path), root, str(path))
        RuleParams(plan).raw_content()
        yield Finding("study", "well", f"{path} is valid")
    except GradFaithError as error:
        yield Finding("study", "broken", f"{type(error).__name__}: {error.problem}", error.fix)
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "torch": check_torch, "devices": lambda: check_devices(plan),
        "folders": lambda: check_folders(plan, root), "file locks": lambda: check_file_locks(root),
        "disk": lambda: check_disk(plan, study_file, root), "weights": lambda: check_weights(plan, study_file),
        "SLURM": lambda: slurm.check_slurm(root), "earlier run": lambda: check_earlier_run(plan, study_file, root),
    }  # fmt: skip
    if profile and plan:
        checks["profile"] = lambda: slurm.check_profile(profile, study_file, root)
    for name, check in checks.items():
        try:
            yield from check()
        except GradFaithError as error:
            yield Finding(name, "broken", f"{type(error).__name__}: {error.problem}", error.fix)
        except Exception as error:  # whatever is wrong here, the other findings are still wanted
            yield Finding(name, "broken", f"{type(error).__name__}: {error}", FIXES[name])


def check_torch() -> Iterator[Finding]:
    """Check that a plain Python imports torch and timm, in a child process: a broken pair would end this one."""
    script = "import timm, torch; print(torch.__version__, timm.__version__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    try:
        pair = f"torch {importlib.metadata.version('torch')}, torchvision {importlib.metadata.version('torchvision')}"
    except importlib.metadata.PackageNotFoundError as missing:
        yield Finding("torch", "broken", f"{missing.name} is not installed", "pip install -r envs/run.txt")
        return
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        yield Finding(
            "torch", "broken", f"{pair}: `import timm` fails with {said}",
            "Run `python -m gradfaith.runtime.torchvision_import`; if that does not help, `pip install -r envs/run.txt`.",
        )  # fmt: skip
    else:
        yield Finding("torch", "well", f"{pair}, timm {done.stdout.split()[-1]}")


def check_devices(plan: Plan | None) -> Iterator[Finding]:
    """Check which devices jobs find on this machine; on a cluster, the nodes may have others."""
    import torch

    requested = plan.study.compute.device if plan else "auto"
    count = torch.cuda.device_count()
    if count:
        names = ", ".join(dict.fromkeys(torch.cuda.get_device_name(number) for number in range(count)))
        yield Finding(
            "devices",
            "well",
            f"{count} GPUs ({names}); jobs share the devices {','.join(gpu_slots.visible_devices(lambda: count))}",
        )
    elif shutil.which("nvidia-smi"):
        yield Finding(
            "devices", "doubtful", f"there is a GPU driver, but torch {torch.__version__} finds no GPU",
            f"Install the CUDA build of torch, or check the variable {gpu_slots.VISIBLE_DEVICES}.",
        )  # fmt: skip
    else:
        kind = "mps" if torch.backends.mps.is_available() else f"cpu, {os.cpu_count()} cores"
        yield Finding("devices", "well", kind)
    if requested == "cuda" and not count:
        yield Finding(
            "devices", "doubtful", "the study has compute.device: cuda, but there is no CUDA GPU here",
            "Correct if the jobs run on other machines. Else write `device: auto`.",
        )  # fmt: skip
    elif plan and plan.study.compute.gpus and not count:
        yield Finding(
            "devices", "doubtful", f"the study has compute.gpus: {plan.study.compute.gpus}, but there is no GPU here",
            "Correct if the jobs run on other machines. Else remove `gpus`: with conda it chooses envs/gpu.yaml.",
        )  # fmt: skip


def check_folders(plan: Plan | None, root: Path) -> Iterator[Finding]:
    """Check that files can be made where jobs put them: in resources/ only if something is still to be fetched."""
    folders = {root / paths.RESULTS, root / ".snakemake"}
    to_fetch = [plan.paths.fetched(plan.dataset.name)] if plan and plan.dataset.fetched else []
    to_fetch += plan.fetched_weights if plan else []
    folders |= {(root / path).parent for path in to_fetch if not (root / path).is_file()}
    refused = []
    for folder in sorted(folders):
        try:
            atomic.check_writable([folder])
        except CannotWrite as error:
            refused.append(Finding("folders", "broken", error.problem, error.fix))
    names = ", ".join(f"{folder.relative_to(root).as_posix()}/" for folder in sorted(folders))
    yield from refused or [Finding("folders", "well", f"{names} can be written to")]


def check_file_locks(root: Path) -> Iterator[Finding]:
    """Check that a file lock in results/ excludes other processes, also on other machines (by the mount's options)."""
    import fcntl

    results = root / "results"
    folder, where = (results, "results/") if os.path.lexists(results) else (root, "the folder that results/ will be in")
    path = folder / f".doctor-{os.getpid()}"
    fix = "Put results/ on a file system with locks (NFS 4, or mounted without `nolock`). Without locks two runs can overwrite each other."
    try:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            other = subprocess.run(
                [sys.executable, "-c", LOCK_SCRIPT, str(path)], capture_output=True, text=True, check=False
            )
        mounted = find_local_locks(MOUNTS.read_text() if MOUNTS.is_file() else "", folder.resolve())
        if other.returncode == 0:
            yield Finding("file locks", "broken", f"in {where} a second process got a lock that another one holds", fix)
        elif other.returncode != LOCK_IS_HELD:
            said = other.stderr.strip().rpartition("\n")[2]
            yield Finding("file locks", "broken", f"in {where} a second process cannot ask for a lock: {said}", fix)
        elif mounted:  # no second machine to try from
            yield Finding("file locks", "doubtful", f"in {where} locks work on this machine only ({mounted})", fix)
        else:
            yield Finding("file locks", "well", f"they work in {where}")
    except OSError as error:
        fix = FIXES["file locks"] if error.errno in NOT_WRITABLE else fix
        yield Finding("file locks", "broken", f"{where}: {error.strerror or error}", fix)
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def find_local_locks(mounts: str, folder: Path) -> str:
    """Return how a network folder is mounted whose locks other machines do not see; "" if they do.

    `mounts`: the text of /proc/mounts.
    """
    found = ("", "", "")
    for line in mounts.splitlines():
        _, where, kind, options = line.split()[:4]
        where = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), where)
        if folder.is_relative_to(where) and len(where) >= len(found[0]):  # a later mount hides an earlier one
            found = (where, kind, options)
    where, kind, said = found[0], found[1], set(found[2].split(","))
    local = (kind in {"nfs", "nfs4"} and said & {"nolock", "local_lock=flock", "local_lock=all"}) or (
        kind == "lustre" and (said & {"noflock", "localflock"} or ("without flock" if "flock" not in said else ""))
    )
    return f"{kind} at {where}, {local if isinstance(local, str) else ','.join(sorted(local))}" if local else ""


def check_disk(plan: Plan | None, study_file: str, root: Path) -> Iterator[Finding]:
    """Check that the disk of results/ has room for what is to come, as forecast from finished jobs."""
    results = root / "results"
    free = shutil.disk_usage(results if results.exists() else root).free
    lines = forecast.forecast_study(plan, study_file, root)[0] if plan else []
    coming = sum(line.bytes_to_come for line in lines)
    unknown = [line.rule for line in lines if line.jobs_without_size]
    needed = coming if lines and not unknown else max(coming, MIN_FREE_BYTES)
    said = f"{free / 1e9:.1f} GB free"
    if coming:
        said += f", about {coming / 1e9:.2f} GB to come" + (f"; unknown for {', '.join(unknown)}" * bool(unknown))
    elif unknown or not lines:
        said += ", but the space that the study needs is unknown"
    state: State = "broken" if free < needed else "doubtful" if free < 2 * needed else "well"
    fix = (
        ""
        if state == "well"
        else "Free some space. `keep: {maps: false}` in the study deletes the largest files after use."
    )
    yield Finding("disk", state, said, fix)


def check_weights(plan: Plan | None, study_file: str) -> Iterator[Finding]:
    """Check that the weights that training starts from exist and can be read; the fix names `study_file`."""
    if plan is None or plan.study.external:
        return
    files = {path: arch for arch in plan.architectures if (path := plan.starting_weights(arch))}
    fetched = set(plan.fetched_weights)
    missing = [path for path in files if not Path(path).is_file()]
    if own := [path for path in missing if path not in fetched]:
        yield Finding(
            "weights",
            "broken",
            f"there is no file {', '.join(own)}",
            "Correct `weights:` of these architectures in the study.",
        )
    damaged = {path: why for path in files if path not in missing and (why := _why_unreadable(Path(path)))}
    for path, why in damaged.items():
        fix = f"Fetch it again, on a machine with a network: mv {path} {path}.damaged && snakemake {path} --configfile {study_file}"
        yield Finding("weights", "broken", why, fix if path in fetched else "Export or copy the file again.")
    if missing := [path for path in missing if path in fetched]:
        yield Finding(
            "weights", "doubtful", f"{len(missing)} of {len(files)} are not fetched yet",
            f"On a machine with a network: snakemake {' '.join(missing)} --configfile {study_file}",
        )  # fmt: skip
    if not (own or damaged or missing):
        yield Finding("weights", "well", f"all {len(files)} files are there" if files else "none needed")


def _why_unreadable(path: Path) -> str:
    """Return why training would refuse a file of weights, or ""; for safetensors the header tells enough."""
    from safetensors import SafetensorError, safe_open

    from gradfaith.models import weight_file

    try:
        if weight_file.is_safetensors(path):
            with safe_open(path, "np"):
                weight_file.checked_sha256(path)
        else:
            weight_file.read_weights(path)
    except GradFaithError as error:
        return error.problem
    except (OSError, SafetensorError) as error:
        return f"{path} cannot be read: {error}"
    return ""


def check_earlier_run(plan: Plan | None, study_file: str, root: Path) -> Iterator[Finding]:
    """Check what a killed run left: its lock, and results without a record of how they were made."""
    if any((root / ".snakemake/locks").glob("*")):
        yield Finding(
            "earlier run",
            "doubtful",
            "there is a lock: a run still works, or was killed",
            "If it was killed: `make resume`.",
        )
    elif plan and (lost := snakemake_process.find_unrecorded(root, study_file)):
        found, fix = snakemake_process.describe_unrecorded(lost), snakemake_process.FIX_UNRECORDED
        yield Finding("earlier run", "doubtful", found, fix)
    else:
        yield Finding("earlier run", "well", "it left no lock, and no result without a record")
