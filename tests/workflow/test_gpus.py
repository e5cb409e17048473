"""Jobs of a real run on a machine with two pretended GPUs: each has one to itself, or shares it by slots."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from workspace import Workspace

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("workflow")]  # the finished study is made once

CELLS = [f"results/tiny/maps/net-a/seed-{seed}/{bundle}.h5" for seed in (0, 1) for bundle in ("cams", "controls")]
HELD = re.compile(r"^device: .* \(GPU (\d) of ([\d,]+), slot (\d)\)$", re.M)


class Box(Workspace):
    """A finished study on a machine of its own devices."""

    def __init__(self, folder: Path, locks: Path, devices: str) -> None:
        super().__init__(folder)
        self.locks, self.devices = locks, devices

    @property
    def environment(self) -> dict[str, str]:
        box = {"CUDA_VISIBLE_DEVICES": self.devices, "GRADFAITH_LOCKS": str(self.locks), "GRADFAITH_PRETEND": "yes"}
        plain = {key: value for key, value in super().environment.items() if key != "SLURM_JOB_ID"}
        return {**plain, **box}

    def held(self) -> Iterator[tuple[tuple[str, str], float, float]]:
        """Of every explaining job the device and slot, when it said so at the earliest, and when its maps were there."""
        for cell in CELLS:
            own = Path(cell).with_suffix("").relative_to("results/tiny/maps")
            log = self.folder / f"results/tiny/logs/explain/{own}.log"
            found = HELD.search(log.read_text())
            assert found, log.read_text()
            assert found[2] == self.devices
            benchmark = self.folder / f"results/tiny/benchmarks/explain/{own}.tsv"
            took = float(benchmark.read_text().split()[10])
            end = (self.folder / cell).stat().st_mtime
            yield (found[1], found[3]), end - took, end

    def again(self, *words: str) -> None:
        self.snakemake("--workflow-profile", "workstation", *words, "--force", *CELLS, "--cores", "2")


def test_two_jobs_with_two_gpus_never_share_one_and_with_two_slots_they_do(
    spoilable: Workspace, tmp_path: Path
) -> None:
    box = Box(spoilable.folder, tmp_path / "locks", "0,1")
    box.again()
    spans = list(box.held())
    assert {device for (device, _), _, _ in spans} == {"0", "1"}
    assert {slot for (_, slot), _, _ in spans} == {"0"}
    half = [(held, (start + end) / 2, end) for held, start, end in spans]  # by then it computed
    assert any(a < d and c < b for n, (_, a, b) in enumerate(half) for _, c, d in half[:n]), "no two ran at once"
    assert not [1 for n, (x, a, b) in enumerate(half) for y, c, d in half[:n] if x == y and a < d and c < b]

    shared = Box(spoilable.folder, tmp_path / "locks", "0")
    shared.again("--default-resources", "slots_per_gpu=2")
    assert {held for held, _, _ in shared.held()} == {("0", "0"), ("0", "1")}
