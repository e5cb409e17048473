"""Test whether a shallow tree can predict the class from features that are not disease.

    noise    median |x - mean of 3 x 3|, and the standard deviation of the air around the body: the reconstruction kernel
    border   grey of the corners, median and spread of the outermost pixels: the export
    air      mean, spread and noise of a strip of air above the chest, an eighth of the height, the middle quarter across
    size     width, height, aspect of the image in its file
    file     bytes, bits per pixel

    probe = balanced accuracy of a tree of depth 3, cross-validated in 5 folds that never divide groups, REPEATS times;
            for all classes, and for the class that is best separated from the rest

Chance is 1 / classes; `null` is the 95th percentile of the same probe after label permutation over groups. A network can
use whatever a tree can use, and splitting by group does not remove it. Cost: about 10 ms per image, seconds for the trees.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.tree import DecisionTreeClassifier

from gradfaith import rng

TREE_DEPTH = 3
FOLDS = 5
REPEATS = 3
PERMUTATIONS = 20  # of the labels, for the null
FEATURES_BY_KIND = {
    "noise": ("noise", "air_std"),
    "border": ("corner", "border", "border_std"),
    "air": ("strip", "strip_std", "strip_noise"),
    "size": ("width", "height", "aspect"),
    "file": ("bytes", "bits_per_pixel"),
}


def image_features(image: NDArray[np.uint8]) -> dict[str, float]:  # (h, w)
    """Measure features of an image that depend on its scanner and its export."""
    grey = image.astype(np.float32)
    rough = np.abs(grey - uniform_filter(grey, 3))
    height, width = grey.shape
    rim = np.concatenate([grey[:2].ravel(), grey[-2:].ravel(), grey[:, :2].ravel(), grey[:, -2:].ravel()])
    corner = np.concatenate(
        [grey[y, x].ravel() for y in (slice(4), slice(-4, None)) for x in (slice(4), slice(-4, None))]
    )
    middle = slice(3 * width // 8, 5 * width // 8)
    strip, strip_rough = grey[2 : 2 + height // 8, middle], rough[2 : 2 + height // 8, middle]
    air = grey < np.median(rim) + 20
    return {
        "noise": float(np.median(rough)),
        "air_std": float(grey[air].std()) if air.any() else 0.0,
        "corner": float(corner.mean()),
        "border": float(np.median(rim)),
        "border_std": float(rim.std()),
        "strip": float(strip.mean()),
        "strip_std": float(strip.std()),
        "strip_noise": float(np.median(strip_rough)),
    }


def file_features(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return features of the file alone, size and bytes; one row per row of the manifest."""
    area = np.maximum(manifest["width"] * manifest["height"], 1)
    return pd.DataFrame({
        "width": manifest["width"], "height": manifest["height"], "aspect": manifest["width"] / np.maximum(manifest["height"], 1),
        "bytes": manifest["bytes"], "bits_per_pixel": 8 * manifest["bytes"] / area,
    })  # fmt: skip


def shortcut_probe(table: pd.DataFrame, label: pd.Series, group: pd.Series, seed: int) -> dict[str, Any]:
    """Return kind -> the probe's result, for the kinds with columns in `table` that vary.

    `table`: one row of features per image; `label`, `group`: of the same images.
    """
    tasks = _probe_tasks(label.to_numpy(dtype=object), pd.factorize(group, sort=True)[0], seed)
    found = {}
    for kind, columns in FEATURES_BY_KIND.items():
        if not set(columns) <= set(table.columns):
            continue
        values = table[list(columns)].to_numpy(dtype=np.float64)
        if values.std(axis=0).any():
            found[kind] = _probe_result(values, tasks)
    return found


@dataclass(frozen=True)
class ClassificationTask:
    """Labels to predict, and the fold in which each image is held out."""

    label: NDArray[Any]
    fold: NDArray[np.int64]

    def score(self, values: NDArray[np.float64]) -> float:
        """Return the balanced accuracy of trees on held-out folds; `values`: (n, features)."""
        predicted = np.empty_like(self.label)
        for fold in np.unique(self.fold):
            tree = DecisionTreeClassifier(max_depth=TREE_DEPTH, class_weight="balanced", random_state=0)
            held = self.fold == fold
            predicted[held] = tree.fit(values[~held], self.label[~held]).predict(values[held])
        return float(balanced_accuracy_score(self.label, predicted))


def _probe_tasks(label: NDArray[Any], group: NDArray[np.int64], seed: int) -> dict[str, list[ClassificationTask]]:
    """Make the tasks for every kind of features: all classes, each class against the rest, permuted labels."""
    names = sorted(set(label.tolist()))
    folds = min(FOLDS, *(len(np.unique(group[label == name])) for name in names))
    if folds < 2:
        return {}

    def task(labels: NDArray[Any], turn: int) -> ClassificationTask:
        cut = StratifiedGroupKFold(folds, shuffle=True, random_state=rng.seed(seed, "shortcut", turn) % 2**32)
        fold, text = np.zeros(len(labels), dtype=np.int64), labels.astype(str)
        for number, (_, held) in enumerate(cut.split(text, text, group)):
            fold[held] = number
        return ClassificationTask(text, fold)

    per_group = _label_per_group(label, group)
    permuted = [
        rng.generator(seed, "shortcut deal", turn).permutation(per_group)[group] for turn in range(PERMUTATIONS)
    ]
    versus = {f"vs {name}": [task(label == name, turn) for turn in range(REPEATS)] for name in names if len(names) > 2}
    return {
        "all": [task(label, turn) for turn in range(REPEATS)],
        "permuted": [task(one, turn) for turn, one in enumerate(permuted)],
        **versus,
    }


def _probe_result(values: NDArray[np.float64], tasks: Mapping[str, Sequence[ClassificationTask]]) -> dict[str, Any]:
    if not tasks:
        return {"status": "undefined", "reason": "a class has a single group, so no fold can be held out of it"}
    scores = {name: [one.score(values) for one in several] for name, several in tasks.items()}
    return {
        "status": "ok",
        "balanced_accuracy": float(np.mean(scores["all"])),
        "sd": float(np.std(scores["all"])),
        "null": float(np.quantile(scores["permuted"], 0.95)),
        "chance": 1 / len(np.unique(tasks["all"][0].label)),
        "one_vs_rest": {
            name.removeprefix("vs "): float(np.mean(found)) for name, found in scores.items() if name.startswith("vs ")
        },
    }


def _label_per_group(label: NDArray[Any], group: NDArray[np.int64]) -> NDArray[Any]:
    """Return the most frequent label of each group, the first of equals: permutations move groups, not images."""
    names, place = np.unique(label, return_inverse=True)
    counts = np.zeros((group.max() + 1, len(names)), dtype=np.int64)
    np.add.at(counts, (group, place), 1)
    labels: NDArray[Any] = names[counts.argmax(axis=1)]
    return labels
