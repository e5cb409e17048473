"""Measure the time of a split by group, and its balance, for several numbers of images and groups.

    OMP_NUM_THREADS=1 python benchmarks/split.py [IMAGES GROUPS]

Without arguments three sizes are measured. Groups have 1 to 7 images, mostly of one of three unequal classes. Times are
processor time, not wall time. The gap is the largest difference between a requested share and the actual share.
"""

import sys
import time

import numpy as np
import pandas as pd

from gradfaith.data.split import split, split_report

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
CLASSES = ("benign", "malignant", "normal")
SIZES = ((1_000, 250), (20_000, 5_000), (100_000, 25_000))


def manifest(images: int, groups: int) -> pd.DataFrame:
    """Return a manifest of random groups."""
    random = np.random.default_rng(0)
    weights = random.integers(1, 8, groups).astype(float)
    group = np.sort(
        np.concatenate([np.arange(groups), random.choice(groups, images - groups, p=weights / weights.sum())])
    )
    own = random.choice(3, groups, p=[0.15, 0.5, 0.35])
    label = np.where(random.random(images) < 0.9, own[group], random.integers(0, 3, images))
    ids = [f"{number:07d}" for number in range(images)]
    return pd.DataFrame({"image_id": ids, "group": group, "label": np.array(CLASSES)[label], "pixel_hash": ids})


def main(sizes: tuple[tuple[int, int], ...]) -> None:
    for images, groups in sizes:
        table = manifest(images, groups)
        start = time.process_time()
        found = split(table, SHARES, classes=CLASSES, tolerance=0.05, seed=0)
        seconds = time.process_time() - start
        report = split_report(found, table, SHARES)
        gap = max(abs(one["gap"]) for part in report.values() for one in part["classes"].values())
        print(f"{images} images in {groups} groups: {seconds:.2f} s, largest gap {gap:.4f}")


if __name__ == "__main__":
    main(((int(sys.argv[1]), int(sys.argv[2])),) if len(sys.argv) > 2 else SIZES)
