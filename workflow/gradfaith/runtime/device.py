"""Choose the device that a job computes on, take a GPU slot for it, and name it in the log.

Two settings are made on the way, for the sake of reproducible numbers: torch's number of threads, and no
TF32.
"""

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
    """The resources of a job, as Snakemake hands them on: a mapping with `get`."""

    def get(self, key: str, default: Any = None) -> Any: ...


def device_for_job(requested: str, threads: int, resources: Resources) -> torch.device:
    """Return the device of a job and write it to the log.

    `requested` is auto, cuda, mps or cpu. Where there are GPUs, the job waits for a slot of one of them that
    no other job has; the resource `slots_per_gpu` says how many each has. `threads` is the number of CPU
    threads of torch.
    """
    slot_text = ""
    if requested in {"auto", "cuda"} and (devices := _shared_devices()):
        slot_text = f" ({gpu_slots.take_slot(devices, int(resources.get('slots_per_gpu', 1)), _log_line)})"
    device = choose_device(requested, threads)
    _log_line(f"device: {device.type}, {device_name(device)}{slot_text}")
    return device


def _shared_devices() -> tuple[str, ...]:
    """Return the devices of which a job takes one; none, where this torch or this machine has none."""
    count = count_gpus()
    return gpu_slots.visible_devices(lambda: count) if count or gpu_slots.PRETEND_VARIABLE in os.environ else ()


def count_gpus() -> int:
    """Count the GPUs that jobs see, in a child process.

    A process that starts CUDA itself no longer heeds CUDA_VISIBLE_DEVICES afterwards. torch counts by NVML,
    which leaves CUDA alone, but falls back to CUDA where NVML fails.
    """
    if not (torch.version.cuda or torch.version.hip):
        return 0
    script = COUNT_WITH_HIP if torch.version.hip else COUNT_WITH_CUDA
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else 0


def choose_device(requested: str, threads: int) -> torch.device:
    """Return the named device, or for "auto" the first available of cuda, mps and cpu; set torch's threads.

    A device that is requested by name and is not there is an error: there is no silent fallback.
    """
    torch.set_num_threads(threads)
    # No TF32: with ten bits of mantissa a map would depend on the batch that its image is in.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    offered = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(kind for kind in offered if offered[kind]) if requested == "auto" else requested
    if not offered.get(name, False):
        raise DeviceMissing(
            problem=f"compute.device: {requested} is not offered here (torch {torch.__version__}, "
            f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'unset')}).",
            reason="A study that names a device must not fall back to another in silence.",
            fix="Say `device: auto`, or start the job where the device is and with a torch built for it.",
        )
    return torch.device(name)


def memory_limit(mem_mb: int) -> int:
    """Return the bytes of main memory that a job may take.

    This is the rule's `mem_mb`, but no more than the SLURM job has, which a retry inside it cannot raise.
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
