"""The device a job computes on: chosen, named, and asked for no more at once than it holds."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import torch

from gradfaith import claim
from gradfaith.errors import DeviceMissing

Most = int | Literal["auto"]
Answer = TypeVar("Answer")


# What CUDA itself counts, without torch: a driver that is not there has no devices.
CUDA = """
import ctypes
try:
    driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    print(0 if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) else count.value)
except OSError:
    print(0)
"""
HIP = "import torch; print(torch.cuda.device_count())"


class Resources(Protocol):
    """A job's resources as Snakemake hands them on."""

    def get(self, key: str, default: Any = None) -> Any: ...


def given(resources: Resources, threads: int) -> torch.device:
    """The device of a job, which it says in its log: where there are GPUs, a slot of one of them that no other job has."""
    asked, held = resources.get("device", "auto"), ""
    if asked in {"auto", "cuda"} and (devices := _shared_out()):
        held = f" ({claim.take(devices, int(resources.get('slots_per_gpu', 1)), _say)})"
    found = choose(asked, threads)
    _say(f"device: {found.type}, {name(found)}{held}")
    return found


def _shared_out() -> tuple[str, ...]:
    """The devices of which a job takes one; none, where this torch or this machine has none."""
    found = count()
    return claim.visible(lambda: found) if found or claim.PRETEND in os.environ else ()


def count() -> int:
    """How many GPUs jobs see, asked in a child: a process that asks CUDA itself no longer heeds CUDA_VISIBLE_DEVICES afterwards.

    torch counts by NVML, which leaves CUDA alone, but falls back to CUDA where NVML fails.
    """
    if not (torch.version.cuda or torch.version.hip):
        return 0
    script = HIP if torch.version.hip else CUDA
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else 0


def choose(asked: str, threads: int) -> torch.device:
    """cuda before mps before cpu; a device asked for by name must be there. torch's own threads are set here."""
    torch.set_num_threads(threads)
    # Single precision is meant where it is said: ten bits of a product's mantissa do not give the same map in any batch.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    offered = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(kind for kind in offered if offered[kind]) if asked == "auto" else asked
    if not offered.get(name, False):
        raise DeviceMissing(
            found=f"compute.device: {asked} is not offered here (torch {torch.__version__}, "
            f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'unset')}).",
            why="A study that names a device must not fall back to another in silence.",
            then="Say `device: auto`, or start the job where the device is and with a torch built for it.",
        )
    return torch.device(name)


def memory(mem_mb: int) -> int:
    """Bytes that a job may take: what it asks for, but no more than its SLURM job has, which a retry inside it cannot raise."""
    held = os.environ.get("SLURM_MEM_PER_NODE", "")
    return min(mem_mb, int(held) if held.isdigit() and int(held) else mem_mb) * 1_000_000  # 0: all of the node


def most(said: str | int) -> Most:
    """A chunk as Snakemake hands it on."""
    return "auto" if said == "auto" else int(said)


class Chunk:
    """How many rows go through a model at once; "auto" starts large and is halved, for good, whenever memory runs out.

    Below `least` it is not halved: the error goes on to whoever holds the rest of the memory, and can give some back.
    """

    def __init__(self, most: Most, device: torch.device, *, least: int = 1, times: int = 1) -> None:
        self.auto, self.least = most == "auto", least
        self.rows: int = times * ((256 if device.type == "cuda" else 32) if most == "auto" else int(most))
        self._most, self._device, self._kinds = most, device, dict[Hashable, Chunk]()

    def of(self, kind: Hashable, *, least: int | None = None, times: int = 1) -> "Chunk":
        """The chunk of one kind of rows, which weigh alike; it is halved alone. `times` as many where they are that much smaller."""
        if kind not in self._kinds:
            lowest = self.least if least is None else least
            self._kinds[kind] = Chunk(self._most, self._device, least=lowest, times=times)
        return self._kinds[kind]

    def pieces(self, count: int, work: Callable[[slice], Answer]) -> Iterator[tuple[slice, Answer]]:
        """`work` done on all rows, piece by piece."""
        start = 0
        while start < count:
            rows = slice(start, min(start + self.rows, count))
            try:
                done = work(rows)
            except RuntimeError as error:
                if not (self.auto and rows.stop - rows.start > self.least and out_of_memory(error)):
                    raise
                done = None
            if done is None:  # outside the handler: the error's frames would keep what did not fit
                self.rows = max(self.least, (rows.stop - rows.start) // 2)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                print(f"out of memory: {self.rows} rows at once from now on", flush=True)  # noqa: T201 - the job's log
                continue
            yield rows, done
            start = rows.stop


def out_of_memory(error: RuntimeError) -> bool:
    """CUDA has a class for it, the others only words."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in ("out of memory", "can't allocate memory")
    )


def settle(device: torch.device) -> None:
    """Wait until the device has done what it was given, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def name(device: torch.device) -> str:
    """The device in words, for cards and captions."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _processor() if device.type == "cpu" else device.type


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a job's standard output is its log


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
