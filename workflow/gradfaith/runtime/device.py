"""The device a job computes on: chosen, named, and asked for no more at once than it holds."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import torch

from gradfaith.errors import DeviceMissing
from gradfaith.runtime import gpu_slots

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
        held = f" ({gpu_slots.take(devices, int(resources.get('slots_per_gpu', 1)), _say)})"
    found = choose(asked, threads)
    _say(f"device: {found.type}, {name(found)}{held}")
    return found


def _shared_out() -> tuple[str, ...]:
    """The devices of which a job takes one; none, where this torch or this machine has none."""
    found = count()
    return gpu_slots.visible(lambda: found) if found or gpu_slots.PRETEND in os.environ else ()


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
