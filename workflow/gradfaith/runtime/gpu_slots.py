"""One slot of one GPU for one job: taken before torch looks for devices, and free again however the job ends.

Snakemake counts GPUs on one machine but hands none out, so jobs take them themselves. Every slot of every device is a lock
file in a folder that all runs on the machine share; who holds the lock has the slot. A lock goes with its process, kill -9
included, so none is ever stale. Jobs spread over the devices first and over their slots second, and wait where all are taken.
A lock file is touched every hour while it is held, so that what clears /tmp by age leaves it; one that is removed is made anew.

Only the devices of CUDA_VISIBLE_DEVICES are handed out, under the names they have there: two runs that name one device
differently (0, and GPU-5f6c...) do not see each other. What SLURM gave is shared out among the jobs inside that allocation, one
device like several; where SLURM says what the machine calls them (SLURM_STEP_GPUS, SLURM_JOB_GPUS), locks go by that number, for
each step may call its own device 0. Where it chose none, all jobs of the machine see all devices and share the common locks.
"""

import contextlib
import fcntl
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradfaith.errors import DeviceMissing

VISIBLE, LOCKS = "CUDA_VISIBLE_DEVICES", "GRADFAITH_LOCKS"
PRETEND = "GRADFAITH_PRETEND"  # for tests: what CUDA_VISIBLE_DEVICES names is handed out though there is no GPU
COMMON = "/tmp/gradfaith-gpus"  # not $TMPDIR, which may be another for every job
PATIENCE = 0.5  # seconds between two looks
FRESH = 3600.0  # seconds between two touches of a lock that is held


@dataclass(frozen=True)
class Claim:
    """What a job holds until it ends."""

    device: str
    slot: int
    of: tuple[str, ...]
    scheduled: bool = False  # the only one that a scheduler gave

    def __str__(self) -> str:
        if self.scheduled:
            return f"GPU {self.device}, the scheduler's choice"
        return f"GPU {self.device} of {','.join(self.of)}, slot {self.slot}"


_held: dict[str, Claim | list[int]] = {}  # of this process: the claim, and the open files that are its lock


def visible(count: Callable[[], int]) -> tuple[str, ...]:
    """The devices that may be used: those of CUDA_VISIBLE_DEVICES up to the first that is none, else all that `count` finds.

    Of these only SLURM's, where it names fewer; as many are the same ones, numbered anew by a container or a cgroup.
    """
    named = os.environ.get(VISIBLE)
    if named is None:
        found, given = tuple(map(str, range(count()))), _given()
        return given if given and set(given) < set(found) else found
    devices = [word.strip() for word in named.split(",")]
    end = next((at for at, word in enumerate(devices) if word in {"", "-1", "NoDevFiles"}), len(devices))
    return tuple(devices[:end])


def take(devices: Sequence[str], slots: int = 1, say: Callable[[str], None] = lambda _: None) -> Claim:
    """One slot of one of `devices`, waited for; from then on it is the only device that CUDA shows this process."""
    known = _held.get("claim")
    if isinstance(known, Claim):
        return known
    folder, since = _folder(), 0.0
    while (found := _try(devices, slots, folder)) is None:
        if not since:
            since = time.monotonic()
            say(f"waiting: every slot of GPU {','.join(devices)} is taken ({slots} each)")
        time.sleep(PATIENCE)
    if since:
        say(f"waited {time.monotonic() - since:.1f} s")  # the benchmark has it too: cli/cost/history.py takes it off
    os.environ[VISIBLE] = found.device
    _held["claim"] = found
    return found


def _given() -> tuple[str, ...]:
    """What the machine calls the devices that SLURM gave this step, or else this job; nothing, where it does not say."""
    if "SLURM_JOB_ID" not in os.environ:
        return ()
    said = os.environ.get("SLURM_STEP_GPUS") or os.environ.get("SLURM_JOB_GPUS") or ""
    words = tuple(word.strip() for word in said.split(","))
    return words if all(word.isdigit() for word in words) and len(set(words)) == len(words) else ()


def _allocation() -> str | None:
    """The SLURM job whose devices these are; none, where it chose none and every job sees them all."""
    chosen = VISIBLE in os.environ or _given()
    return os.environ.get("SLURM_JOB_ID") if chosen else None


def _try(devices: Sequence[str], slots: int, folder: Path) -> Claim | None:
    given = _given()  # in the order of CUDA_VISIBLE_DEVICES; a UUID there is already the machine's own name
    plain = len(given) == len(devices) and all(device.isdigit() for device in devices)
    names = given if plain else devices
    for slot in range(slots):
        for name, device in zip(names, devices, strict=True):
            path = folder / f"{re.sub(r'[^A-Za-z0-9]', '-', name)}.{slot}"
            lock = _lock(path)
            if lock is not None:
                _held["locks"] = locks = [lock]  # open until the process ends
                threading.Thread(target=_stay, args=(path, locks), daemon=True).start()
                return Claim(device, slot, tuple(devices), scheduled=len(devices) == 1 and _allocation() is not None)
    return None


def _lock(path: Path) -> int | None:
    try:
        while True:
            file = _open(path)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(file)
                if isinstance(error, BlockingIOError):
                    return None
                raise
            if _is(file, path):
                _touch(file)
                return file
            os.close(file)  # removed since it was opened: the next job would lock another file of this name
    except OSError as error:
        raise _refusal(f"the lock {path} of a GPU cannot be taken", error) from error


def _is(file: int, path: Path) -> bool:
    """The open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False


def _touch(file: int) -> None:
    with contextlib.suppress(OSError):  # another user's file, on a file system that lets only its owner
        os.utime(file)


def _stay(path: Path, locks: list[int]) -> None:
    while True:
        time.sleep(FRESH)
        with contextlib.suppress(OSError, DeviceMissing):  # looked at again in an hour
            _refresh(path, locks)


def _refresh(path: Path, locks: list[int]) -> None:
    """The lock that is held looks used; where its file was removed, the new one of its name is held too, if no job was faster."""
    if _is(locks[-1], path):
        _touch(locks[-1])
    elif (anew := _lock(path)) is not None:
        locks.append(anew)


def _open(path: Path) -> int:
    """For writing, without which network folders lock nothing; for reading, where another user's file allows no more."""
    try:  # another user's file cannot be opened for creation in a sticky folder
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        pass
    try:
        with _for_all():
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    except FileExistsError:  # another job was faster
        return _open(path)


@contextlib.contextmanager
def _for_all() -> Iterator[None]:
    """What is made here has its mode at once: with a chmod afterwards, another user could come between the two."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def _folder() -> Path:
    """Common to all users of the machine; inside a SLURM allocation its own, for devices are numbered anew there."""
    folder = Path(os.environ.get(LOCKS, COMMON))
    allocation = _allocation()
    try:
        if not folder.parent.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
        for part in (folder, *([folder / f"slurm-{allocation}"] if allocation else [])):
            with _for_all():
                part.mkdir(0o1777, exist_ok=True)
            folder = part
    except OSError as error:
        raise _refusal(f"the folder of GPU locks {folder} cannot be made", error) from error
    return folder


def _refusal(found: str, error: OSError) -> DeviceMissing:
    return DeviceMissing(
        found=f"{found}: {error.strerror or error}.",
        why="Without locks two jobs could take the same GPU.",
        then=f"Set {LOCKS} to a folder of this machine, the same for all who use its GPUs.",
    )
