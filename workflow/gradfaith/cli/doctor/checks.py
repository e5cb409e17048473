"""What a run will need, looked at before it begins: each finding is well, doubtful or broken, and says the mend.

Broken is what stops a run or spoils it; doubtful is what may be meant. Every check is on its own, so that one that
fails does not hide the others.
"""

import contextlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from gradfaith.cli.cost import forecast
from gradfaith.cli.doctor import slurm, snakemake_metadata
from gradfaith.cli.doctor.slurm import Finding, State
from gradfaith.config import locate
from gradfaith.dag.plan import Plan
from gradfaith.errors import Refusal
from gradfaith.runtime import gpu_slots

TAKEN = 75  # how the child below says that the lock has a holder; another error of its own is no such answer
LOCK = f"""
import fcntl, sys
file = open(sys.argv[1], "r+")  # network folders lock nothing that is open for reading only
try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit({TAKEN})
"""
MOUNTS = Path("/proc/mounts")
MENDS = {  # where a check itself fails
    "torch": "pip install -r envs/run.txt",
    "devices": "Install the torch that this driver is for (pip install -r envs/run.txt), or say `device: cpu`.",
    "file locks": "results/ must be a folder that you may write to.",
    "disk": "results/ must be a folder that you may read; `gradfaith cost` shows what was predicted from.",
    "weights": "resources/weights/ must be a folder that you may read.",
    "SLURM": f"Mend {slurm.PROFILE}, or ask who runs the cluster.",
    "earlier run": "results/ and .snakemake/ must be folders that you may read.",
}
ROOM = 2e9  # bytes that a disk should have free where nothing is known of a study's size


def examine(study: str, root: Path) -> Iterator[Finding]:
    """All findings, the study's first."""
    plan: Plan | None = None
    named = study
    try:
        path = locate.asked(study, root)
        named = str(path)
        plan = Plan.read(locate.read(path), root, str(path))
        plan.raw_files()
        yield Finding("study", "well", f"{path} is valid")
    except Refusal as refusal:
        yield Finding("study", "broken", f"{type(refusal).__name__}: {refusal.found}", refusal.then)
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "torch": torch_pair, "devices": lambda: devices(plan), "file locks": lambda: locking(root),
        "disk": lambda: space(plan, root), "weights": lambda: weights(plan, named), "SLURM": lambda: slurm.examine(root),
        "earlier run": lambda: leftovers(root),
    }  # fmt: skip
    for what, check in checks.items():
        try:
            yield from check()
        except Refusal as refusal:
            yield Finding(what, "broken", f"{type(refusal).__name__}: {refusal.found}", refusal.then)
        except Exception as error:  # whatever is wrong here, the other findings are still wanted
            yield Finding(what, "broken", f"{type(error).__name__}: {error}", MENDS[what])


def torch_pair() -> Iterator[Finding]:
    """Networks can be built: asked of a process of its own, for a broken pair ends the one that imports it."""
    script = "import torch; from gradfaith.models import timm_import as vision; print(torch.__version__, vision.timm.__version__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    try:
        pair = f"torch {importlib.metadata.version('torch')}, torchvision {importlib.metadata.version('torchvision')}"
    except importlib.metadata.PackageNotFoundError as missing:
        yield Finding("torch", "broken", f"{missing.name} is not installed", "pip install -r envs/run.txt")
        return
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        yield Finding(
            "torch", "broken", f"{pair}: {said}", "Install a pair made for each other: pip install -r envs/run.txt"
        )
    else:
        yield Finding("torch", "well", f"{pair}, timm {done.stdout.split()[-1]}")


def devices(plan: Plan | None) -> Iterator[Finding]:
    """What jobs would compute on here; on a cluster the nodes are asked, not the machine one submits from."""
    import torch

    asked = plan.study.compute.device if plan else "auto"
    count = torch.cuda.device_count()
    if count:
        names = ", ".join(dict.fromkeys(torch.cuda.get_device_name(number) for number in range(count)))
        yield Finding(
            "devices", "well", f"{count} GPUs ({names}); jobs share out {','.join(gpu_slots.visible(lambda: count))}"
        )
    elif shutil.which("nvidia-smi"):
        yield Finding(
            "devices", "doubtful", f"there is a GPU driver, and torch {torch.__version__} sees no GPU",
            f"Install torch's CUDA build, or look at {gpu_slots.VISIBLE}.",
        )  # fmt: skip
    else:
        kind = "mps" if torch.backends.mps.is_available() else f"cpu, {os.cpu_count()} cores"
        yield Finding("devices", "well", kind)
    if asked == "cuda" and not count:
        yield Finding(
            "devices", "doubtful", "compute.device: cuda, and there is none here",
            "Right where jobs run elsewhere; else say `device: auto`.",
        )  # fmt: skip
    elif plan and plan.study.compute.gpus and not count:
        yield Finding(
            "devices", "doubtful", f"compute.gpus: {plan.study.compute.gpus}, and there is none here",
            "Right where jobs run elsewhere; else leave `gpus` away: with conda it chooses envs/gpu.yaml.",
        )  # fmt: skip


def locking(root: Path) -> Iterator[Finding]:
    """A lock on a file of the results keeps another process out, here and, as far as the mount says, on other machines."""
    import fcntl

    results = root / "results"
    folder, where = (results, "results/") if os.path.lexists(results) else (root, "the folder that results/ will be in")
    path = folder / f".doctor-{os.getpid()}"
    mend = "Put results/ on a file system with locks (NFS 4, or mounted without `nolock`): two runs could overwrite each other."
    try:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            other = subprocess.run([sys.executable, "-c", LOCK, str(path)], capture_output=True, text=True, check=False)
        mounted = alone(MOUNTS.read_text() if MOUNTS.is_file() else "", folder.resolve())
        if other.returncode == 0:
            yield Finding("file locks", "broken", f"a second process took a lock that was held in {where}", mend)
        elif other.returncode != TAKEN:
            said = other.stderr.strip().rpartition("\n")[2]
            yield Finding("file locks", "broken", f"a second process cannot try one in {where}: {said}", mend)
        elif mounted:  # no second machine to try from
            yield Finding("file locks", "doubtful", f"{where} has them on this machine alone ({mounted})", mend)
        else:
            yield Finding("file locks", "well", f"{where} has them")
    except OSError as error:
        yield Finding("file locks", "broken", f"{where}: {error.strerror or error}", mend)
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def alone(mounts: str, folder: Path) -> str:
    """How a network folder is mounted whose locks no other machine sees; nothing, where they do."""
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


def space(plan: Plan | None, root: Path) -> Iterator[Finding]:
    """The disk that results lie on holds what is to come, as far as past files say."""
    results = root / "results"
    free = shutil.disk_usage(results if results.exists() else root).free
    lines = forecast.predicted(plan, root)[0] if plan else []
    coming = sum(line.coming for line in lines)
    unknown = [line.rule for line in lines if line.unsized]
    needed = coming if lines and not unknown else max(coming, ROOM)
    said = f"{free / 1e9:.1f} GB free"
    if coming:
        said += f", about {coming / 1e9:.2f} GB to come" + (
            f" and, of unknown size, what is of {', '.join(unknown)}" * bool(unknown)
        )
    elif unknown or not lines:
        said += ", and nothing is known of what is to come"
    state: State = "broken" if free < needed else "doubtful" if free < 2 * needed else "well"
    mend = "" if state == "well" else "Free space; `keep: {maps: false}` takes the largest files away."
    yield Finding("disk", state, said, mend)


def weights(plan: Plan | None, named: str) -> Iterator[Finding]:
    """The files that training starts from are there and whole; `named` is the study's own file."""
    if plan is None or plan.study.external:
        return
    files = {path: arch for arch in plan.architectures if (path := plan.starting_weights(arch))}
    fetched = {plan.layout.pretrained(plan.study.architectures[arch].timm or arch) for arch in plan.architectures}
    missing = [path for path in files if not Path(path).is_file()]
    if own := [path for path in missing if path not in fetched]:
        yield Finding("weights", "broken", f"{', '.join(own)} is not there", "Mend `weights:` of these architectures.")
    spoilt = {path: why for path in files if path not in missing and (why := _spoilt(Path(path)))}
    for path, why in spoilt.items():
        mend = f"Delete it; then, on a machine with a network: snakemake {path} --configfile {named}"
        yield Finding("weights", "broken", why, mend if path in fetched else "Export or copy the file again.")
    if missing := [path for path in missing if path in fetched]:
        yield Finding(
            "weights", "doubtful", f"{len(missing)} of {len(files)} are not there yet",
            f"On a machine with a network: snakemake {' '.join(missing)} --configfile {named}",
        )  # fmt: skip
    if not (own or spoilt or missing):
        yield Finding("weights", "well", f"all {len(files)} are there" if files else "none needed")


def _spoilt(path: Path) -> str:
    """Why a training would refuse a file of weights; of safetensors the header says whether all tensors are there."""
    from safetensors import SafetensorError, safe_open

    from gradfaith.models import weight_file

    try:
        if weight_file.is_safetensors(path):
            with safe_open(path, "np"):
                weight_file.digest(path)
        else:
            weight_file.read(path)
    except Refusal as refusal:
        return refusal.found
    except (OSError, SafetensorError) as error:
        return f"{path} cannot be read: {error}"
    return ""


def leftovers(root: Path) -> Iterator[Finding]:
    """What a killed run left: its lock, and results that nothing is known of."""
    if any((root / ".snakemake/locks").glob("*")):
        yield Finding("earlier run", "doubtful", "it left a lock, or still runs", "If it was killed: make resume")
    elif lost := snakemake_metadata.unrecorded(root):
        yield Finding("earlier run", "doubtful", snakemake_metadata.said(lost), snakemake_metadata.MEND)
    else:
        yield Finding("earlier run", "well", "nothing is left of one")
