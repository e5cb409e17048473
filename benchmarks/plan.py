"""What building a graph costs: a study of many architectures, seeds and bundles as a dry run, seconds and memory.

    python benchmarks/plan.py [--architectures 10] [--seeds 10] [--bundles 8]

The goal for 10 x 10 x 8 is 30 s and 600 MB. `finished FOLDER` times `snakemake -n` where a study is done already (goal: 5 s), and
`start` what a job takes before it computes.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
NETWORKS = (
    "resnet18", "resnet34", "resnet50", "resnet101", "densenet121", "densenet169", "vgg16_bn", "convnext_tiny", "efficientnet_b0",
    "mobilenetv3_large_100", "regnety_016", "resnext50_32x4d",
)  # fmt: skip
METHODS = ("gradcam", "layercam", "hirescam", "xgradcam", "eigencam", "saliency", "smoothgrad", "integrated_gradients")


def study(architectures: int, seeds: int, bundles: int) -> dict[str, object]:
    """A study of that many cells; every bundle is one method."""
    methods = [METHODS[number % len(METHODS)] for number in range(bundles)]
    labels = [f"{method}-{number}" for number, method in enumerate(methods)]
    chosen = [NETWORKS[number % len(NETWORKS)] for number in range(architectures)]
    return {
        "study": "many",
        "dataset": {"name": "phantom"},
        "architectures": {f"{timm}-{number}": {"timm": timm} for number, timm in enumerate(chosen)},
        "seeds": list(range(seeds)),
        "training": {"epochs": 1},
        "bundles": {label: {"methods": {label: {"use": method}}} for label, method in zip(labels, methods, strict=True)},
        "localization": ["saliency_score", "pointing_game"],
        "batteries": {"masking": {"metrics": ["faith"], "imputers": ["black"]}},
        "agreement": ["consist"],
        "primary": {"metric": "saliency_score", "method": labels[0], "against": "random-grid"},
        "figures": ["classification", "controls"],
    }  # fmt: skip


def dry_run(document: dict[str, object]) -> tuple[float, float, int]:
    """Seconds, megabytes and jobs of `snakemake -n`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        seconds, memory, said = measured("-n", "--quiet", "rules", "--configfile", str(path))
    total = next(line.split()[1] for line in said.splitlines() if line.startswith("total"))
    return seconds, memory, int(total)


def measured(*words: str, folder: Path = ROOT) -> tuple[float, float, str]:
    """One run of Snakemake: seconds, the most memory of any process so far in MB, and what it said."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "snakemake", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    seconds = time.perf_counter() - started
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, done.stdout + done.stderr


def start(rounds: int = 5) -> float:
    """Seconds from a job's first line to a network, as `scripts/explain.py` begins."""
    script = "import gradfaith.job; from gradfaith import device, explain, stores, tables, uses; from gradfaith.models import checkpoint"
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", script], cwd=ROOT / "workflow", check=True)
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["graph"], help="graph, start, or finished FOLDER [STUDY.yaml]")
    parser.add_argument("--architectures", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--bundles", type=int, default=8)
    asked = parser.parse_args(words)
    if asked.what[0] == "start":
        print(f"a job's imports: {start():.1f} s")
    elif asked.what[0] == "finished":
        config = ["--configfile", asked.what[2]] if len(asked.what) > 2 else []
        seconds, memory, said = measured("-n", *config, folder=Path(asked.what[1]))
        print(f"snakemake -n: {seconds:.1f} s, {memory:.0f} MB; nothing to do: {'Nothing to be done' in said}")
    else:
        seconds, memory, jobs = dry_run(study(asked.architectures, asked.seeds, asked.bundles))
        size = f"{asked.architectures} x {asked.seeds} x {asked.bundles}"
        print(f"{size}: {jobs} jobs, {seconds:.1f} s, {memory:.0f} MB")


if __name__ == "__main__":
    main()
