"""Measure the time and memory for building a job graph: a dry run with many architectures, seeds and bundles.

    python benchmarks/plan.py [--architectures 10] [--seeds 10] [--bundles 8]

The goal for 10 x 10 x 8 is 30 s and 600 MB. `finished FOLDER` measures `snakemake -n` on a finished study (goal: 5 s), and
`start` the time of a job before it computes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
NETWORKS = (
    "resnet18", "resnet34", "resnet50", "resnet101", "densenet121", "densenet169", "vgg16_bn", "convnext_tiny", "efficientnet_b0",
    "mobilenetv3_large_100", "regnety_016", "resnext50_32x4d",
)  # fmt: skip
METHODS = ("gradcam", "layercam", "hirescam", "xgradcam", "eigencam", "saliency", "smoothgrad", "integrated_gradients")


def study(architectures: int, seeds: int, bundles: int) -> dict[str, object]:
    """Return a study with this number of cells; every bundle is one method."""
    methods = [METHODS[number % len(METHODS)] for number in range(bundles)]
    labels = [f"{method}-{number}" for number, method in enumerate(methods)]
    chosen = [NETWORKS[number % len(NETWORKS)] for number in range(architectures)]
    return {
        "study": "many",
        "dataset": {"name": "phantom"},
        "architectures": {f"{timm}-{number}": {"timm": timm} for number, timm in enumerate(chosen)},
        "seeds": list(range(seeds)),
        "training": {"epochs": 2},
        "bundles": {label: {"methods": {label: {"use": method}}} for label, method in zip(labels, methods, strict=True)},
        "localization": ["saliency_score", "pointing_game"],
        "batteries": {"masking": {"metrics": ["faith"], "imputers": ["black"]}},
        "agreement": ["consist"],
        "primary": {"metric": "saliency_score", "method": labels[0], "against": "random-grid"},
        "figures": ["classification", "controls"],
    }  # fmt: skip


@dataclass(frozen=True)
class Took:
    """One run of Snakemake: wall time and computing time (more reliable on a shared machine) in seconds, MB, and output."""

    clock: float
    computing: float
    memory: float
    said: str


def dry_run(document: dict[str, object]) -> tuple[Took, int]:
    """Run `snakemake -n` on a study; return the measurement and the number of jobs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        took = measured("-n", "--quiet", "rules", "--configfile", str(path))
    total = next(line.split()[1] for line in took.said.splitlines() if line.startswith("total"))
    return took, int(total)


# A child's peak memory includes that of the process that starts it; in a test that process has loaded networks.
LAUNCH = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
sys.exit(code)
"""


def measured(*words: str, folder: Path = ROOT) -> Took:
    command = [sys.executable, "-c", LAUNCH, sys.executable, "-m", "snakemake", *words]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    clock = time.perf_counter() - started
    assert done.returncode == 0, done.stdout[-4000:]
    text, _, figures = done.stdout.rstrip().rpartition("\n")
    computing, memory = map(float, figures.split())
    return Took(clock, computing, memory, text)


def start(rounds: int = 5) -> tuple[float, float]:
    """Return wall time and computing time from a job's first line to its network, as in `scripts/explain.py`."""
    script = (
        "import gradfaith.runtime.job; from gradfaith.attribution import bound_method, cell; "
        "from gradfaith.models import checkpoint; from gradfaith.storage import hdf5, parquet"
    )
    clock, computing = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT / "workflow")
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0
        clock.append(time.perf_counter() - begun)
        computing.append(usage.ru_utime + usage.ru_stime)
    return statistics.median(clock), statistics.median(computing)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["graph"], help="graph, start, or finished FOLDER [STUDY.yaml]")
    parser.add_argument("--architectures", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--bundles", type=int, default=8)
    asked = parser.parse_args(words)
    if asked.what[0] == "start":
        print("a job's imports: {:.1f} s, {:.1f} s of computing".format(*start()))
        return
    if asked.what[0] == "finished":
        config = ["--configfile", *asked.what[2:]] if asked.what[2:] else []
        took, what = measured("-n", *config, folder=Path(asked.what[1])), "snakemake -n"
        what += ", nothing to be done" if "Nothing to be done" in took.said else ", something to do"
    else:
        took, jobs = dry_run(study(asked.architectures, asked.seeds, asked.bundles))
        what = f"{asked.architectures} x {asked.seeds} x {asked.bundles}, {jobs} jobs"
    print(f"{what}: {took.clock:.1f} s, {took.computing:.1f} s of computing, {took.memory:.0f} MB")


if __name__ == "__main__":
    main()
