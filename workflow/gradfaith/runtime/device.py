"""Choose the device that a job computes on, take a GPU slot for it, and keep batches within its memory.

    device = device_for_job(compute, threads, resources)
    batch = AdaptiveBatch("auto", device)
    for rows, result in batch.process(len(images), lambda rows: model(images[rows])): ...

Two settings make numbers reproducible: torch's number of threads, and no TF32. A third one only makes passes faster: freed
memory stays in the process. By default glibc maps and unmaps each large buffer separately, so every layer of every forward
pass receives fresh pages, which the system must clear first. With both thresholds of `keep_freed_memory` raised, buffers come
from the heap, and the process keeps the heap until it ends.

A batch of "auto" starts large. Whenever the device runs out of memory,
the batch is halved permanently.
"""

import ctypes
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import torch

from gradfaith.errors import DeviceMissing
from gradfaith.runtime import gpu_slots

BatchLimit = int | Literal["auto"]
T = TypeVar("T")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameters of mallopt, from glibc's malloc.h
MMAP_THRESHOLD = 1 << 30  # bytes; larger buffers are still mapped by themselves
TRIM_THRESHOLD = 2**31 - 1  # bytes at the top of the heap that may stay unused: never returned to the system


class AdaptiveBatch:
    """The number of rows that go through a model at once; "auto" is halved permanently when memory runs out.

    It is not halved below `minimum` rows. Then the caller receives the error, and may be able to free memory.
    `scale` multiplies the starting size of "auto" and a fixed size alike, for rows that need that much less
    memory.
    """

    def __init__(self, limit: BatchLimit, device: torch.device, *, minimum: int = 1, scale: int = 1) -> None:
        self.auto, self.minimum = limit == "auto", minimum
        self.rows: int = scale * ((256 if device.type == "cuda" else 32) if limit == "auto" else int(limit))
        self._limit, self._device, self._by_kind = limit, device, dict[Hashable, AdaptiveBatch]()

    def for_kind(self, kind: Hashable, *, minimum: int | None = None, scale: int = 1) -> "AdaptiveBatch":
        """Return the batch of one kind of rows, which need about the same memory each; it is halved separately.

        `minimum`: None takes the minimum of this batch. `scale`: how many times as many rows fit, because they
        are smaller.
        """
        if kind not in self._by_kind:
            lowest = self.minimum if minimum is None else minimum
            self._by_kind[kind] = AdaptiveBatch(self._limit, self._device, minimum=lowest, scale=scale)
        return self._by_kind[kind]

    def process(self, count: int, work: Callable[[slice], T]) -> Iterator[tuple[slice, T]]:
        """Yield each batch of rows, as a slice of range(count), with what `work` returns for it."""
        start = 0
        while start < count:
            rows = slice(start, min(start + self.rows, count))
            try:
                done = work(rows)
            except RuntimeError as error:
                if not (self.auto and rows.stop - rows.start > self.minimum and is_out_of_memory(error)):
                    raise
                done = None
            if done is None:  # outside the handler: the error's frames would keep the memory in use
                self.rows = max(self.minimum, (rows.stop - rows.start) // 2)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                print(f"out of memory: {self.rows} rows at once from now on", flush=True)  # noqa: T201 - the job's log
                continue
            yield rows, done
            start = rows.stop


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether memory ran out: CUDA has an error class for it, other devices only a text."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in ("out of memory", "can't allocate memory")
    )


# Counts with CUDA itself, without torch. Without a driver the count is 0.
COUNT_WITH_CUDA = """
import ctypes
try:
    driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    print(0 if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) else count.value)
except OSError:
    print(0)
"""
COUNT_WITH_HIP = "import torch; print(torch.cuda.device_count())"


class Resources(Protocol):
    """The resources of a job, as Snakemake passes them: a mapping with `get`."""

    def get(self, key: str, default: Any = None) -> Any: ...


class MachineUse(Protocol):
    """The settings for device and memory in a study's `compute` section."""

    @property
    def device(self) -> str: ...  # auto, cuda, mps or cpu

    @property
    def keep_freed_memory(self) -> bool: ...


def device_for_job(compute: MachineUse, threads: int, resources: Resources) -> torch.device:
    """Return the device of a job and write it to the log.

    On a machine with GPUs, the job waits until a slot of one GPU is free. The resource
    `slots_per_gpu` is the number of slots per GPU. `threads` is the number of CPU threads of torch.
    """
    slot_text = ""
    if compute.device in {"auto", "cuda"} and (devices := _shared_devices()):
        slot_text = f" ({gpu_slots.take_slot(devices, int(resources.get('slots_per_gpu', 1)), _log_line)})"
    device = choose_device(compute.device, threads)
    gpu_slots.facts.device = device.type
    _log_line(f"device: {device.type}, {device_name(device)}{slot_text}")
    kept = compute.keep_freed_memory and keep_freed_memory()
    _log_line(f"memory: freed memory {'stays in the process' if kept else 'returns to the system'}")
    return device


def _shared_devices() -> tuple[str, ...]:
    """Return the devices of which a job takes one; empty if this torch or this machine has none."""
    count = count_gpus()
    return gpu_slots.visible_devices(lambda: count) if count or gpu_slots.PRETEND_VARIABLE in os.environ else ()


def count_gpus() -> int:
    """Count the GPUs that jobs see, in a child process.

    A process that has started CUDA ignores later changes of CUDA_VISIBLE_DEVICES. torch counts with NVML,
    which does not start CUDA, but falls back to CUDA where NVML fails.
    """
    if not (torch.version.cuda or torch.version.hip):
        return 0
    script = COUNT_WITH_HIP if torch.version.hip else COUNT_WITH_CUDA
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else 0


def choose_device(requested: str, threads: int) -> torch.device:
    """Return the named device, or for "auto" the first available of cuda, mps and cpu; set torch's threads.

    A requested device that is missing is an error; there is no silent fallback. In this file,
    only this function counts in the code digests (`dag/code_digest.py`), as it switches TF32 off.
    """
    torch.set_num_threads(threads)
    # No TF32: its mantissa has ten bits, so a map would depend on the other images of its batch.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    offered = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(kind for kind in offered if offered[kind]) if requested == "auto" else requested
    if not offered.get(name, False):
        raise DeviceMissing(
            problem=f"compute.device is {requested}, but this machine does not have it (torch {torch.__version__}, "
            f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'unset')}).",
            reason="If a study names a device, GradFaith does not switch to another one.",
            fix="Set `device: auto` in the study's `compute` section, or run on a machine with this device and a torch built for it.",
        )
    return torch.device(name)


def memory_limit(mem_mb: int) -> int:
    """Return the bytes of main memory that a job may take.

    This is the rule's `mem_mb`, but at most the memory of the SLURM job, which a retry inside it cannot raise.
    """
    allocated = os.environ.get("SLURM_MEM_PER_NODE", "")
    return (
        min(mem_mb, int(allocated) if allocated.isdigit() and int(allocated) else mem_mb) * 1_000_000
    )  # 0: all of the node


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished its queue, so that wall time can be measured."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def device_name(device: torch.device) -> str:
    """Return the device's model name, for cards, logs and captions."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _processor_name() if device.type == "cpu" else device.type


def _log_line(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a job's standard output is its log


def _processor_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@dataclass
class AllocatorFacts:
    """The allocator settings of this process, for logs and stamps."""

    keeps_freed_memory: bool = False


allocator_facts = AllocatorFacts()


def keep_freed_memory() -> bool:
    """Set glibc to keep freed memory. Return whether that worked; other C libraries stay unchanged."""
    if not allocator_facts.keeps_freed_memory and _is_glibc():
        mallopt = ctypes.CDLL(None).mallopt
        accepted = [mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD), mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)]
        allocator_facts.keeps_freed_memory = accepted == [1, 1]
    return allocator_facts.keeps_freed_memory


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # another system, or another C library
        return False
