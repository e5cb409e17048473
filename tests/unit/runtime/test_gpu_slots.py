"""A slot of a GPU has one holder at a time, and none once its holder is gone. Processes are real, devices pretended."""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gradfaith.runtime import gpu_slots

HOLDER = """
import sys, time
from gradfaith.runtime import gpu_slots
found = gpu_slots.take_slot(gpu_slots.visible_devices(lambda: 2), int(sys.argv[1]), lambda line: print(line, flush=True))
sys.stdout.write(f"held {found.device} {found.slot} {gpu_slots.facts.waited_seconds}\\n")  # in one piece: a reader may look at any time
sys.stdout.flush()
time.sleep(float(sys.argv[2]))
print("left", flush=True)
"""


class Holder:
    """A process that takes a slot and keeps it."""

    def __init__(self, log: Path, environment: dict[str, str], slots: int, seconds: float = 120) -> None:
        self.log = log
        with log.open("w") as out:
            command = [sys.executable, "-c", HOLDER, str(slots), str(seconds)]
            self.process = subprocess.Popen(command, stdout=out, env=environment)

    @property
    def held(self) -> tuple[str, str] | None:
        words = [line.split() for line in self.log.read_text().split("\n")[:-1]]  # whole lines
        return next(((line[1], line[2]) for line in words if line[:1] == ["held"]), None)

    def device(self) -> str:
        end = time.monotonic() + 30
        while self.held is None:
            assert time.monotonic() < end, "no slot was had"
            time.sleep(0.02)
        return self.held[0]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


Start = Callable[..., Holder]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts holders on a box with two pretended devices."""
    holders: list[Holder] = []
    plain = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}

    def one(slots: int = 1, seconds: float = 120, **environment: str | None) -> Holder:
        said = {
            **plain,
            gpu_slots.VISIBLE_DEVICES: "0,1",
            gpu_slots.LOCK_FOLDER_VARIABLE: str(tmp_path / "locks"),
            **environment,
        }
        box = {key: value for key, value in said.items() if value is not None}
        holders.append(Holder(tmp_path / f"holder-{len(holders)}", box, slots, seconds))
        return holders[-1]

    yield one
    for holder in holders:
        holder.kill()


def waiting(holder: Holder, of: str = "0,1") -> bool:
    """It said that it waits, and after a second look still has nothing."""
    end = time.monotonic() + 30
    while f"waiting: every slot of GPU {of} is taken" not in holder.log.read_text():
        assert time.monotonic() < end, "it does not wait"
        time.sleep(0.02)
    time.sleep(2 * gpu_slots.POLL_SECONDS)
    return holder.held is None


def test_two_jobs_never_share_and_the_slot_of_one_killed_is_free_again(start: Start) -> None:
    first, second = start(), start()
    assert {first.device(), second.device()} == {"0", "1"}
    third = start()
    assert waiting(third)
    freed = first.device()
    first.kill()  # -9: nobody cleans up
    assert third.device() == freed
    assert re.search(r"^waited \d+\.\d s$", third.log.read_text(), re.M)
    recorded = [float(re.findall(r"^held .* (\S+)$", holder.log.read_text(), re.M)[0]) for holder in (second, third)]
    assert recorded[0] == 0
    assert recorded[1] >= 2 * gpu_slots.POLL_SECONDS  # the job's record takes it off its seconds


def test_with_two_slots_two_jobs_share_a_device_and_a_fifth_waits(start: Start) -> None:
    four = [start(slots=2) for _ in range(4)]
    assert Counter(holder.device() for holder in four) == {"0": 2, "1": 2}
    assert len({holder.held for holder in four}) == 4
    assert waiting(start(slots=2))


def test_jobs_spread_over_devices_before_they_share_one(start: Start) -> None:
    one = start(slots=2)
    assert one.device() != start(slots=2).device()


@pytest.mark.parametrize("seed", [0, 1])
def test_no_slot_has_two_holders_however_they_end(start: Start, seed: int) -> None:
    """Sixteen short holders, a third of them killed: what each saw held, by others still alive, was never its own slot."""
    draw, living = np.random.default_rng(seed), list[Holder]()
    for _ in range(16):
        living.append(start(seconds=float(draw.uniform(0.1, 0.6))))
        time.sleep(float(draw.uniform(0, 0.3)))
        if draw.random() < 0.33:
            living[int(draw.integers(len(living)))].kill()
        found = [(holder, holder.held) for holder in living]  # all read before the first is asked whether it lives
        held = [slot for holder, slot in found if slot and holder.process.poll() is None]
        assert len(held) == len(set(held))
    assert not [holder for holder in living if holder.process.wait(60) not in {0, -9}]


def test_a_scheduler_s_single_device_is_taken_as_it_is(start: Start) -> None:
    """SLURM may number every job's device 0: two such jobs have two devices."""
    jobs = [start(**{gpu_slots.VISIBLE_DEVICES: "0", "SLURM_JOB_ID": str(number)}) for number in (7, 8)]
    assert [holder.device() for holder in jobs] == ["0", "0"]
    assert str(gpu_slots.GpuSlot("0", 0, ("0",), scheduled=True)) == "GPU 0, the scheduler's choice"


def test_two_jobs_inside_one_allocation_do_not_share_its_only_device(start: Start) -> None:
    box = {gpu_slots.VISIBLE_DEVICES: "3", "SLURM_JOB_ID": "7"}
    first = start(**box)
    assert first.device() == "3"
    assert waiting(start(**box), "3")
    assert start(slots=2, **box).device() == "3"


def test_steps_that_each_call_their_own_device_0_do_not_wait_for_each_other(start: Start) -> None:
    box = {gpu_slots.VISIBLE_DEVICES: "0", "SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "4,5"}
    assert [start(SLURM_STEP_GPUS=number, **box).device() for number in "45"] == ["0", "0"]
    assert waiting(start(SLURM_STEP_GPUS="5", **box), "0")


def test_where_slurm_chooses_no_device_its_jobs_share_the_locks_of_the_machine(start: Start) -> None:
    jobs = [start(**{gpu_slots.VISIBLE_DEVICES: None, "SLURM_JOB_ID": str(number)}) for number in (7, 8)]
    assert {holder.device() for holder in jobs} == {"0", "1"}
    assert waiting(start())  # a job beside SLURM, too


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, ("0", "1", "2")),
        ({"SLURM_JOB_GPUS": "2"}, ("2",)),
        ({"SLURM_JOB_GPUS": "0,2", "SLURM_STEP_GPUS": "0"}, ("0",)),
        ({"SLURM_JOB_GPUS": "4,5,6"}, ("0", "1", "2")),  # a cgroup numbers them anew
    ],
)
def test_slurm_s_own_words_hold_where_it_set_no_variable_of_cuda(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], found: tuple[str, ...]
) -> None:
    for key in (gpu_slots.VISIBLE_DEVICES, "SLURM_JOB_GPUS", "SLURM_STEP_GPUS"):
        monkeypatch.delenv(key, raising=False)
    for key, value in {"SLURM_JOB_ID": "7", **given}.items():
        monkeypatch.setenv(key, value)
    assert gpu_slots.visible_devices(lambda: 3) == found


def test_several_devices_of_an_allocation_are_shared_out_inside_it(start: Start) -> None:
    inside = [start(SLURM_JOB_ID="7") for _ in range(2)]
    assert {holder.device() for holder in inside} == {"0", "1"}
    assert start(SLURM_JOB_ID="8").device() in {"0", "1"}  # another allocation: another pair of devices


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (None, ("0", "1", "2")),
        ("1", ("1",)),
        ("2, 0", ("2", "0")),
        ("GPU-5f6c,MIG-1/2", ("GPU-5f6c", "MIG-1/2")),
        ("0,-1,1", ("0",)),  # as CUDA reads it
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),  # as SLURM says none
    ],
)
def test_only_visible_devices_are_handed_out(
    monkeypatch: pytest.MonkeyPatch, named: str | None, found: tuple[str, ...]
) -> None:
    monkeypatch.delenv(gpu_slots.VISIBLE_DEVICES, raising=False)
    if named is not None:
        monkeypatch.setenv(gpu_slots.VISIBLE_DEVICES, named)
    assert gpu_slots.visible_devices(lambda: 3) == found


def test_a_job_sees_one_device_and_asks_once(tmp_path: Path) -> None:
    """The whole way: `device.device_for_job` takes a slot before torch looks, a second call of the same process gets the same slot."""
    script = (
        "import os; from gradfaith.config.compute import Compute; from gradfaith.runtime import device\n"
        "for _ in range(2): print(device.device_for_job(Compute(), 1, {'slots_per_gpu': '1'}).type)\n"
        "print(os.environ['CUDA_VISIBLE_DEVICES'])"
    )
    environment = {
        **os.environ,
        gpu_slots.VISIBLE_DEVICES: "5,6",
        gpu_slots.LOCK_FOLDER_VARIABLE: str(tmp_path / "locks"),
        gpu_slots.PRETEND_VARIABLE: "yes",
    }
    environment.pop("SLURM_JOB_ID", None)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert said[0].endswith(" (GPU 5 of 5,6, slot 0)")
    assert said[3] == said[0]
    assert said[-1] == "5"


def test_without_a_gpu_no_slot_is_taken_whatever_is_named(tmp_path: Path) -> None:
    script = (
        "import torch; from gradfaith.config.compute import Compute; from gradfaith.runtime import device\n"
        "torch.version.cuda = torch.version.hip = None\n"
        "device.device_for_job(Compute(), 1, {})"
    )
    environment = {
        **os.environ,
        gpu_slots.VISIBLE_DEVICES: "5,6",
        gpu_slots.LOCK_FOLDER_VARIABLE: str(tmp_path / "locks"),
    }
    environment.pop(gpu_slots.PRETEND_VARIABLE, None)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("device: ")
    assert "GPU 5" not in done.stdout
    assert not (tmp_path / "locks").exists()


def test_a_folder_of_locks_that_cannot_be_made_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(gpu_slots.LOCK_FOLDER_VARIABLE, str(tmp_path / "file/locks"))
    with pytest.raises(gpu_slots.DeviceMissing, match=r"folder of GPU locks .* cannot be created: Not a directory"):
        gpu_slots.take_slot(["0", "1"])
