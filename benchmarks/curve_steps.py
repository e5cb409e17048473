"""Measure how many steps a removal curve needs: few steps compared with 224, on the networks of a finished study.

    python benchmarks/curve_steps.py results/phantom [--images 12] [--steps 5 10 20 50 100] [--methods gradcam saliency]

For every network of the study, its first test images and the predicted class, removed pixels become black. For each number
of steps, the output has the mean and largest difference of an image's area from that in 224 steps, the difference of a
network's mean, and how often two networks' maps of an image (of one method) keep their order. Areas are between 0 and 1.
"""

import argparse
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from batteries import maps_of
from numpy.typing import NDArray
from torch import Tensor

from gradfaith.config.study import PluginUse
from gradfaith.metrics.runners.masking import run_battery
from gradfaith.models import checkpoint
from gradfaith.models.classifier import Classifier
from gradfaith.scoring.score_rows import load_plugins
from gradfaith.storage import parquet
from gradfaith.storage.hdf5 import ImageStore

MOST = 224
CURVES = ("deletion", "insertion")
Areas = dict[tuple[str, int], NDArray[np.float64]]  # curve and steps -> (methods, images)


def networks(study: Path) -> Iterator[tuple[str, Classifier]]:
    for weights in sorted(study.glob("models/*/seed-*/weights.safetensors")):
        yield (
            f"{weights.parent.parent.name} {weights.parent.name}",
            checkpoint.load(weights, weights.with_name("card.json")),
        )


def areas(classifier: Classifier, images: Tensor, names: Sequence[str], steps: Sequence[int]) -> Areas:
    with torch.no_grad():
        target = classifier(images).argmax(dim=1)
    maps = maps_of(classifier, names, images, target)
    metrics = load_plugins(
        "faithfulness",
        {f"{curve} {n}": PluginUse(use=curve, options={"steps": n}) for curve in CURVES for n in (*steps, MOST)},
    )
    fills = load_plugins("imputers", {"black": PluginUse(use="black")})
    found = run_battery(classifier, images, maps, metrics, fills, key=("steps",), chunk=32).by_method
    return {
        (curve, n): np.stack([found[whose][f"{curve} {n}", "black"].value for whose in maps])
        for curve in CURVES
        for n in (*steps, MOST)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 10, 20, 50, 100])
    parser.add_argument("--methods", nargs="+", default=["gradcam", "saliency"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    predictions = parquet.read(next(asked.study.glob("predictions/*/*.parquet")), parquet.PREDICTIONS)
    ids = list(predictions.loc[predictions["part"] == "test", "image_id"])
    ids = ids[:: max(1, len(ids) // asked.images)][: asked.images]  # from all classes
    with ImageStore(asked.study / "data/images.h5") as store:
        images = torch.from_numpy(store.pixels(ids)).float() / 255
    found = []
    for name, classifier in networks(asked.study):
        found.append(areas(classifier, images, asked.methods, asked.steps))
        print(name, flush=True)
    report(found, asked.steps)


def report(found: Sequence[Areas], steps: Sequence[int]) -> None:
    print(f"{'curve':10} {'steps':>5} {'mean |error|':>13} {'largest':>9} {'of a network':>13} {'same order':>11}")
    for curve in CURVES:
        truth = np.stack([one[curve, MOST] for one in found])  # (networks, methods, images)
        for n in steps:
            few = np.stack([one[curve, n] for one in found])
            away, mean = few - truth, np.nanmean(few, axis=2) - np.nanmean(truth, axis=2)
            same = [
                np.sign(few[a] - few[b]) == np.sign(truth[a] - truth[b]) for a, b in combinations(range(len(found)), 2)
            ]
            print(
                f"{curve:10} {n:5d} {np.nanmean(np.abs(away)):13.4f} {np.nanmax(np.abs(away)):9.4f} "
                f"{np.abs(mean).max():13.4f} {np.mean(same):11.1%}"
            )


if __name__ == "__main__":
    main()
