"""Freed memory stays in the process where the C library is glibc, and no number depends on it."""

import json
import os
import subprocess
import sys

import pytest

from gradfaith.runtime import device

GLIBC = (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc") if hasattr(os, "confstr") else False
JOB = """
import hashlib, json, resource, sys
from gradfaith.config.compute import Compute
from gradfaith.runtime import device
device.device_for_job(Compute(device="cpu", keep_freed_memory=sys.argv[1] == "kept"), 1, {})
import torch
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 8, 3), nn.Flatten(1), nn.LazyLinear(3))
images = torch.rand(16, 3, 128, 128)
net(images)
optimiser = torch.optim.AdamW(net.parameters())

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    optimiser.zero_grad()
    net(images).square().sum().backward()
    optimiser.step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

new_pages = [faults() for _ in range(4)][-1]
weights = b"".join(value.numpy().tobytes() for value in net.state_dict().values())
print(json.dumps({"pages": new_pages, "weights": hashlib.sha256(weights).hexdigest(), "kept": device.allocator_facts.keeps_freed_memory}))
"""


def run(how: str) -> tuple[dict[str, object], str]:
    done = subprocess.run([sys.executable, "-c", JOB, how], capture_output=True, text=True, check=True)
    *log, last = done.stdout.splitlines()
    return json.loads(last), "\n".join(log)


@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc, so nothing is set")
def test_training_takes_no_new_pages_and_has_the_same_weights() -> None:
    (kept, kept_log), (usual, usual_log) = run("kept"), run("usual")
    assert (kept["kept"], usual["kept"]) == (True, False)
    assert kept["weights"] == usual["weights"]
    assert int(kept["pages"]) * 20 < int(usual["pages"]), (kept, usual)  # type: ignore[call-overload]
    assert "memory: freed memory stays in the process" in kept_log
    assert "memory: freed memory returns to the system" in usual_log


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(_name: str) -> str:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(device, "allocator_facts", device.AllocatorFacts())
    monkeypatch.setattr(os, "confstr", no_such_name)
    assert not device.keep_freed_memory()
    assert not device.allocator_facts.keeps_freed_memory
