"""One slot of one GPU for one job: taken before torch looks for devices, and free again however the job ends.

Snakemake counts GPUs on one machine but hands none out, so jobs take them themselves. Every slot of every device is a lock
file in a folder that all runs on the machine share; who holds the lock has the slot. A lock goes with its process, kill -9
included, so none is ever stale. Jobs spread over the devices first and over their slots second, and wait where all are taken.

Only the devices of CUDA_VISIBLE_DEVICES are handed out, under the names they have there: two runs that name one device
differently (0, and GPU-5f6c...) do not see each other. One device under SLURM is the scheduler's own choice and taken as it is;
several (a job of many tasks, a group) are shared out among the jobs inside that allocation.
"""

import fcntl
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradfaith.errors import DeviceMissing

VISIBLE, LOCKS = "CUDA_VISIBLE_DEVICES", "GRADFAITH_LOCKS"
COMMON = "/tmp/gradfaith-gpus"  # not $TMPDIR, which may be another for every job
PATIENCE = 0.5  # seconds between two looks


@dataclass(frozen=True)
class Claim:
    """What a job holds until it ends."""

    device: str
    slot: int | None  # None: the scheduler's choice, with no lock of ours
    of: tuple[str, ...]

    def __str__(self) -> str:
        if self.slot is None:
            return f"GPU {self.device}, the scheduler's choice"
        return f"GPU {self.device} of {','.join(self.of)}, slot {self.slot}"


_held: dict[str, Claim | int] = {}  # of this process: the claim, and the open file that is its lock


def visible(count: Callable[[], int]) -> tuple[str, ...]:
    """The devices that may be used: those of CUDA_VISIBLE_DEVICES up to the first that is none, else all that `count` finds."""
    named = os.environ.get(VISIBLE)
    if named is None:
        return tuple(map(str, range(count())))
    devices = [word.strip() for word in named.split(",")]
    end = next((at for at, word in enumerate(devices) if word in {"", "-1", "NoDevFiles"}), len(devices))
    return tuple(devices[:end])


def take(devices: Sequence[str], slots: int = 1, say: Callable[[str], None] = lambda _: None) -> Claim:
    """One slot of one of `devices`, waited for; from then on it is the only device that CUDA shows this process."""
    known = _held.get("claim")
    if isinstance(known, Claim):
        return known
    found = Claim(devices[0], None, tuple(devices)) if _scheduled(devices) else None
    if found is None:
        folder, waits = _folder(), 0
        while (found := _try(devices, slots, folder)) is None:
            if not waits:
                say(f"waiting: every slot of GPU {','.join(devices)} is taken ({slots} each)")
            waits += 1
            time.sleep(PATIENCE)
    os.environ[VISIBLE] = found.device
    _held["claim"] = found
    return found


def _scheduled(devices: Sequence[str]) -> bool:
    return "SLURM_JOB_ID" in os.environ and len(devices) == 1


def _try(devices: Sequence[str], slots: int, folder: Path) -> Claim | None:
    for slot in range(slots):
        for device in devices:
            lock = _lock(folder / f"{re.sub(r'[^A-Za-z0-9]', '-', device)}.{slot}")
            if lock is not None:
                _held["lock"] = lock  # open until the process ends
                return Claim(device, slot, tuple(devices))
    return None


def _lock(path: Path) -> int | None:
    try:  # another user's file may be read and locked, but not opened for creation in a sticky folder
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def _folder() -> Path:
    """Common to all users of the machine; inside a SLURM allocation its own, for devices are numbered anew there."""
    folder = Path(os.environ.get(LOCKS, COMMON))
    allocation = os.environ.get("SLURM_JOB_ID")
    try:
        for part in (folder, *([folder / f"slurm-{allocation}"] if allocation else [])):
            if not part.is_dir():
                part.mkdir(parents=True, exist_ok=True)
                part.chmod(0o1777)
            folder = part
    except OSError as error:
        raise DeviceMissing(
            found=f"the folder of GPU locks {folder} cannot be made: {error.strerror or error}.",
            why="Without locks two jobs could take the same GPU.",
            then=f"Set {LOCKS} to a folder of this machine, the same for all who use its GPUs.",
        ) from error
    return folder
