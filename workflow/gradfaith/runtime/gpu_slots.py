"""Give each job one slot of one GPU before torch looks for devices; the slot is free again when the job ends.

Snakemake counts GPUs on one machine but assigns none, so each job takes one itself. Every slot of every device is
a lock file in a folder that all runs on the machine share. The process that has locked the file has the slot. The
system releases a lock when its process ends, even after kill -9, so no lock becomes stale. Jobs use all devices
first, then further slots per device, and wait if all slots are taken. A process touches its lock file every hour,
so that programs that clear /tmp by age keep it. If the file is removed, the process makes a new one.

Only the devices of CUDA_VISIBLE_DEVICES are used, under the names they have there: two runs that name one
device differently (0, and GPU-5f6c...) do not see each other. Devices that SLURM allocated are shared among
the jobs inside that allocation. If SLURM gives the machine's numbers of the devices (SLURM_STEP_GPUS,
SLURM_JOB_GPUS), locks use these numbers, because each step may call its own device 0. If SLURM allocated no
device, all jobs of the machine see all devices and share the common locks.
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

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
LOCK_FOLDER_VARIABLE = "GRADFAITH_LOCKS"
PRETEND_VARIABLE = "GRADFAITH_PRETEND"  # for tests: assign the devices of CUDA_VISIBLE_DEVICES although there is no GPU
COMMON_LOCK_FOLDER = "/tmp/gradfaith-gpus"  # not $TMPDIR, which may differ between jobs
POLL_SECONDS = 0.5  # seconds between two attempts
TOUCH_SECONDS = 3600.0  # seconds between two touches of a lock that is held


@dataclass(frozen=True)
class GpuSlot:
    """One slot of one GPU. A job holds it until the job ends."""

    device: str
    slot: int
    candidates: tuple[str, ...]  # the devices it was chosen from
    scheduled: bool = False  # it is the only device that a scheduler allocated

    def __str__(self) -> str:
        if self.scheduled:
            return f"GPU {self.device}, the scheduler's choice"
        return f"GPU {self.device} of {','.join(self.candidates)}, slot {self.slot}"


@dataclass
class DeviceFacts:
    """The device of this process (one job), and the time that it waited for a GPU; the job record has both."""

    device: str = ""
    waited_seconds: float = 0.0


facts = DeviceFacts()
_held_by_process: dict[str, GpuSlot | list[int]] = {}  # "slot", and the open files that are its "locks"


def visible_devices(count: Callable[[], int]) -> tuple[str, ...]:
    """Return the devices that jobs may use: those of CUDA_VISIBLE_DEVICES, up to the first invalid one, else all.

    `count` counts all devices. If SLURM names fewer, only SLURM's are returned. If it names as many, they are the
    same devices, renumbered by a container or a cgroup.
    """
    variable = os.environ.get(VISIBLE_DEVICES)
    if variable is None:
        present, allocated = tuple(map(str, range(count()))), _slurm_devices()
        return allocated if allocated and set(allocated) < set(present) else present
    devices = [word.strip() for word in variable.split(",")]
    end = next((at for at, word in enumerate(devices) if word in {"", "-1", "NoDevFiles"}), len(devices))
    return tuple(devices[:end])


def take_slot(devices: Sequence[str], slots: int = 1, say: Callable[[str], None] = lambda _: None) -> GpuSlot:
    """Wait for a free slot on one of the `devices`, and make this device the only one that CUDA shows.

    Each device has `slots` slots. A process keeps its slot: a second call returns the same. `say` writes to the log.
    """
    earlier = _held_by_process.get("slot")
    if isinstance(earlier, GpuSlot):
        return earlier
    folder, since = _lock_folder(), 0.0
    while (taken := _try_slots(devices, slots, folder)) is None:
        if not since:
            since = time.monotonic()
            say(f"waiting: every slot of GPU {','.join(devices)} is taken ({slots} each)")
        time.sleep(POLL_SECONDS)
    if since:
        facts.waited_seconds += time.monotonic() - since
        say(f"waited {facts.waited_seconds:.1f} s")
    os.environ[VISIBLE_DEVICES] = taken.device
    _held_by_process["slot"] = taken
    return taken


def _slurm_devices() -> tuple[str, ...]:
    """Return the machine's numbers of the devices that SLURM allocated to this step or job; empty if unknown."""
    if "SLURM_JOB_ID" not in os.environ:
        return ()
    variable = os.environ.get("SLURM_STEP_GPUS") or os.environ.get("SLURM_JOB_GPUS") or ""
    words = tuple(word.strip() for word in variable.split(","))
    return words if all(word.isdigit() for word in words) and len(set(words)) == len(words) else ()


def _slurm_allocation() -> str | None:
    """Return the SLURM job that the visible devices belong to; None if every job sees all devices."""
    chosen = VISIBLE_DEVICES in os.environ or _slurm_devices()
    return os.environ.get("SLURM_JOB_ID") if chosen else None


def _try_slots(devices: Sequence[str], slots: int, folder: Path) -> GpuSlot | None:
    allocated = _slurm_devices()  # in the order of CUDA_VISIBLE_DEVICES; a UUID is already unique on the machine
    plain = len(allocated) == len(devices) and all(device.isdigit() for device in devices)
    names = allocated if plain else devices
    for slot in range(slots):
        for name, device in zip(names, devices, strict=True):
            path = folder / f"{re.sub(r'[^A-Za-z0-9]', '-', name)}.{slot}"
            lock = _lock(path)
            if lock is not None:
                _held_by_process["locks"] = locks = [lock]  # open until the process ends
                threading.Thread(target=_keep_fresh, args=(path, locks), daemon=True).start()
                return GpuSlot(
                    device, slot, tuple(devices), scheduled=len(devices) == 1 and _slurm_allocation() is not None
                )
    return None


def _lock(path: Path) -> int | None:
    try:
        while True:
            file = _open_lock(path)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(file)
                if isinstance(error, BlockingIOError):
                    return None
                raise
            if _is_at(file, path):
                _touch(file)
                return file
            os.close(file)  # removed after it was opened: the next job would lock another file of this name
    except OSError as error:
        raise _lock_failed(f"the lock {path} of a GPU cannot be taken", error) from error


def _is_at(file: int, path: Path) -> bool:
    """Return whether the path still leads to this open file."""
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False


def _touch(file: int) -> None:
    with contextlib.suppress(OSError):  # another user's file; only the owner may touch it on some filesystems
        os.utime(file)


def _keep_fresh(path: Path, locks: list[int]) -> None:
    while True:
        time.sleep(TOUCH_SECONDS)
        with contextlib.suppress(OSError, DeviceMissing):  # the next attempt is in an hour
            _refresh(path, locks)


def _refresh(path: Path, locks: list[int]) -> None:
    """Touch the held lock file; if it was removed, lock a new file, unless another job was faster."""
    if _is_at(locks[-1], path):
        _touch(locks[-1])
    elif (anew := _lock(path)) is not None:
        locks.append(anew)


def _open_lock(path: Path) -> int:
    """Open a lock file for writing, as network filesystems require, or another user's file for reading."""
    try:  # in a sticky folder another user's file cannot be opened with O_CREAT
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        pass
    try:
        with _mode_for_all_users():
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    except FileExistsError:  # another job was faster
        return _open_lock(path)


@contextlib.contextmanager
def _mode_for_all_users() -> Iterator[None]:
    """Create files with their final mode, because another user could open them before a chmod."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def _lock_folder() -> Path:
    """Make the folder of locks: common to all users, or of one SLURM allocation, which renumbers devices."""
    folder = Path(os.environ.get(LOCK_FOLDER_VARIABLE, COMMON_LOCK_FOLDER))
    allocation = _slurm_allocation()
    try:
        if not folder.parent.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
        for part in (folder, *([folder / f"slurm-{allocation}"] if allocation else [])):
            with _mode_for_all_users():
                part.mkdir(0o1777, exist_ok=True)
            folder = part
    except OSError as error:
        raise _lock_failed(f"the folder of GPU locks {folder} cannot be created", error) from error
    return folder


def _lock_failed(problem: str, error: OSError) -> DeviceMissing:
    return DeviceMissing(
        problem=f"{problem}: {error.strerror or error}.",
        reason="Without locks two jobs could take the same GPU.",
        fix=f"Set {LOCK_FOLDER_VARIABLE} to a local folder that all users of this machine's GPUs share and can write to.",
    )
