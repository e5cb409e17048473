"""A chunk covers every row once, in order; when memory runs out it is halved for good, alone, and only if it may be."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from gradfaith.runtime import device
from gradfaith.runtime.device import AdaptiveBatch, is_out_of_memory, memory_limit

CPU = torch.device("cpu")


class Tight:
    """A device that holds so many rows at once."""

    def __init__(self, limit: int, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        self.limit, self.error, self.tried = limit, error, list[int]()

    def __call__(self, some: slice) -> list[int]:
        self.tried.append(some.stop - some.start)
        if some.stop - some.start > self.limit:
            raise self.error("CUDA out of memory. Tried to allocate")
        return list(range(some.start, some.stop))


def test_every_row_once_and_in_order() -> None:
    found = list(AdaptiveBatch(4, CPU).process(10, Tight(4)))
    assert [row for _, rows in found for row in rows] == list(range(10))
    assert [(some.start, some.stop) for some, _ in found] == [(0, 4), (4, 8), (8, 10)]
    assert list(AdaptiveBatch(4, CPU).process(0, Tight(4))) == []


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_auto_halves_until_it_fits_and_remembers(error: type[RuntimeError]) -> None:
    chunk, tight = AdaptiveBatch("auto", CPU), Tight(5, error)
    assert [row for _, rows in chunk.process(40, tight) for row in rows] == list(range(40))
    assert tight.tried[:4] == [32, 16, 8, 4]
    assert set(tight.tried[4:]) == {4}
    assert chunk.rows == 4
    assert [row for _, rows in chunk.process(8, tight) for row in rows] == list(range(8))
    assert tight.tried[-2:] == [4, 4]


def test_smaller_rows_go_in_larger_pieces_and_are_halved_alone() -> None:
    """Three heads that do not fit say nothing of images, nor of gradients."""
    chunk, tight = AdaptiveBatch("auto", CPU), Tight(100)
    heads = chunk.for_kind("head", scale=8)
    assert [row for _, rows in heads.process(600, tight) for row in rows] == list(range(600))
    assert tight.tried[:3] == [256, 128, 64]
    assert (chunk.for_kind("head", scale=8), heads.rows) == (heads, 64)
    assert [row for _, rows in heads.process(3, Tight(2)) for row in rows] == [0, 1, 2]
    assert (heads.rows, chunk.rows, chunk.for_kind("gradient").rows) == (1, 32, 32)


def test_below_its_least_a_chunk_leaves_the_error_to_others() -> None:
    chunk, tight = AdaptiveBatch("auto", CPU).for_kind("beside twelve images", minimum=8), Tight(5)
    with pytest.raises(torch.OutOfMemoryError):
        list(chunk.process(40, tight))
    assert tight.tried == [32, 16, 8]
    assert chunk.for_kind("gradient").minimum == 8, "so do its own"


def test_a_number_is_kept_to_and_one_row_cannot_be_halved() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        list(AdaptiveBatch(8, CPU).process(8, Tight(4)))
    with pytest.raises(torch.OutOfMemoryError):
        list(AdaptiveBatch("auto", CPU).process(8, Tight(0)))


def test_another_error_is_not_taken_for_lack_of_memory() -> None:
    def fails(_some: slice) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="multiplied"):
        list(AdaptiveBatch("auto", CPU).process(8, fails))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not is_out_of_memory(RuntimeError("shapes"))


@pytest.mark.parametrize(("held", "bytes_"), [(None, 4e9), ("2000", 2e9), ("8000", 4e9), ("0", 4e9)])
def test_a_retry_inside_a_slurm_job_has_no_more_memory_than_the_job(
    monkeypatch: pytest.MonkeyPatch, held: str | None, bytes_: float
) -> None:
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    if held is not None:
        monkeypatch.setenv("SLURM_MEM_PER_NODE", held)
    assert memory_limit(4000) == bytes_


DRIVER = """
int cuInit(unsigned int flags) { return flags; }
int cuDeviceGetCount(int *count) { *count = 3; return 0; }
"""


def test_gpus_are_counted_by_the_driver_in_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked here, CUDA would no longer heed the device that the job then takes."""
    if not (compiler := shutil.which("cc")):
        pytest.skip("no C compiler to pretend a driver with")
    (tmp_path / "driver.c").write_text(DRIVER)
    library = tmp_path / "libcuda.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "driver.c"], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: pytest.fail("asked in this process"))
    monkeypatch.setattr(torch.version, "hip", None)
    for built, found in (("13.0", 3), (None, 0)):
        monkeypatch.setattr(torch.version, "cuda", built)
        assert device.count_gpus() == found
