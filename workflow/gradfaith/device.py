"""The device a job computes on: chosen, and named."""

import os
import platform
from pathlib import Path

import torch

from gradfaith.errors import DeviceMissing


def choose(asked: str, threads: int) -> torch.device:
    """cuda before mps before cpu; a device asked for by name must be there. torch's own threads are set here."""
    torch.set_num_threads(threads)
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


def name(device: torch.device) -> str:
    """The device in words, for cards and captions."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _processor() if device.type == "cpu" else device.type


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
