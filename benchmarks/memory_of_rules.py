"""Measure the peak memory of every rule of a study, on few and on many images, from the job records beside the logs.

    python benchmarks/memory_of_rules.py [--images 200 2000] [--side 64] [--folder PLACE] [--targets audit figure_audit]

Snakemake runs the study rule by rule, as a user would: phantom images, `test_resnet` with two seeds, CAMs, saliency and all
controls, the three kinds of batteries, a composite, agreement, the meta-evaluation, and all suitable figures and tables. 80 %
of the images are explained. For rules with several jobs the largest peak counts. The goal applies to the ratio of the peaks
with most and fewest images. A given `folder` is kept, with all results; a second call with it only compares. `targets` are
Snakemake's: `leakage_check figure_audit` runs the data rules without a network, in minutes.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from gradfaith.dag.job_work import rule_family
from gradfaith.runtime.job_record import read_records

GOAL = 1.1
ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "rules", "scripts", "envs", "config", "workflow", "profiles", "pyproject.toml")
CLASSES, SLICES = 3, 2  # of the phantom
FIGURES = (
    "accuracy_faithfulness", "classification", "confusion", "controls", "curves", "degenerate", "lesion_size", "meta",
    "methods_side_by_side", "panels",
)  # fmt: skip


def study(images: int, side: int) -> dict[str, Any]:
    """Return the document of the study."""
    patients = round(images / CLASSES / SLICES)
    return {
        "study": "memory",
        "dataset": {"name": "phantom", "options": {"size": side, "patients_per_class": patients, "slices_per_patient": SLICES}},
        "split": {"train": 0.1, "val": 0.1, "test": 0.8, "leak_limit": 1},
        "image": {"size": side},
        "architectures": {"net": {"timm": "test_resnet.r160_in1k", "options": {"output_stride": 8}}},
        "seeds": [0, 1],
        "training": {"epochs": 1, "batch": 16, "lr": 1.0e-3, "warmup_epochs": 0, "threads": 1},
        "bundles": {"cams": {"methods": ["gradcam", "layercam", "hirescam", "saliency"]}},
        "localization": ["locacc", "saliency_score", "iou_area_matched"],
        "batteries": {
            "masking": {"metrics": ["faith", "average_drop", "complexity"], "imputers": ["black"]},
            "ranking": {"metrics": {"deletion": {"options": {"steps": 4}}}, "imputers": ["black"]},
            "rerun": {"metrics": ["coherency"], "imputers": ["black"]},
        },
        "composite": ["adcc"],
        "agreement": ["consist"],
        "meta": {"truth": ["saliency_score"]},
        "primary": {"metric": "saliency_score", "method": "gradcam", "against": "random-grid"},
        "statistics": {"min_groups": 3},
        "figures": list(FIGURES),
    }  # fmt: skip


def run(folder: Path, images: int, side: int, targets: list[str]) -> dict[str, float]:
    """Run the study in a folder of its own; return rule -> MB at the peak."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        for part in PARTS:
            (shutil.copytree if (ROOT / part).is_dir() else shutil.copy2)(ROOT / part, folder / part)
        (folder / "study.yaml").write_text(yaml.safe_dump(study(images, side)))
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", "1", "--configfile", "study.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-4000:])
    records, notes = read_records(folder)
    print(*notes, sep="\n", end="\n" if notes else "")
    peaks: dict[str, float] = {}
    for record in records:
        name = record.rule if rule_family(record.rule) == "figure" else rule_family(record.rule)
        peaks[name] = max(peaks.get(name, 0.0), record.memory_mb)
    return peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--targets", nargs="+", default=[])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        home = asked.folder or Path(place)
        peaks = {count: run((home / str(count)).absolute(), count, asked.side, asked.targets) for count in asked.images}
    few, many = min(peaks), max(peaks)
    for rule in sorted(peaks[many]):
        ratio, more = peaks[many][rule] / peaks[few][rule], 1e6 * (peaks[many][rule] - peaks[few][rule])
        text = ", ".join(f"{count} images {found[rule]:.0f} MB" for count, found in peaks.items())
        met = "met" if ratio <= GOAL else "missed"
        print(f"{rule:28} {text}; {more / (many - few):.0f} bytes per image; ratio {ratio:.2f} <= {GOAL} {met}")


if __name__ == "__main__":
    main()
