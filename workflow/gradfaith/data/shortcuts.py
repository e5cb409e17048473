"""Can the class be told from what is not disease? A shallow tree is asked, on a few numbers of each kind.

    noise    median |x - mean of 3 x 3|, and the standard deviation of the air round the body: the reconstruction kernel
    border   grey of the corners, median and spread of the outermost pixels: the export
    air      mean, spread and noise of a strip of air above the chest, an eighth of the height, the middle quarter across
    size     width, height, aspect of the file's picture
    file     bytes, bits per pixel

    probe = balanced accuracy of a tree of depth 3, cross-validated in 5 folds that keep groups whole, REPEATS times;
            for all classes, and for the class that is told best from the rest

Chance is 1 / classes; `null` is the 95th percentile of the same probe with labels dealt anew over groups. What a tree
can use, a network can, and grouping does not take it away. Cost: some 10 ms a picture, seconds for the trees.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from gradfaith import rng

DEPTH, FOLDS, REPEATS, DEALS = 3, 5, 3, 20
KINDS = {
    "noise": ("noise", "air_std"),
    "border": ("corner", "border", "border_std"),
    "air": ("strip", "strip_std", "strip_noise"),
    "size": ("width", "height", "aspect"),
    "file": ("bytes", "bits_per_pixel"),
}


def features(image: NDArray[np.uint8]) -> dict[str, float]:  # (h, w)
    """What an image says of its scanner and export."""
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
    """What the file alone says."""
    area = np.maximum(manifest["width"] * manifest["height"], 1)
    return pd.DataFrame({
        "width": manifest["width"], "height": manifest["height"], "aspect": manifest["width"] / np.maximum(manifest["height"], 1),
        "bytes": manifest["bytes"], "bits_per_pixel": 8 * manifest["bytes"] / area,
    })  # fmt: skip


def probe(table: pd.DataFrame, label: pd.Series, group: pd.Series, seed: int) -> dict[str, Any]:
    """kind -> the probe's figures, for the kinds whose columns `table` has; a kind that never varies says nothing."""
    classes, groups = label.to_numpy(dtype=object), pd.factorize(group, sort=True)[0]
    found = {}
    for kind, columns in KINDS.items():
        if (
            set(columns) <= set(table.columns)
            and (values := table[list(columns)].to_numpy(dtype=np.float64)).std(axis=0).any()
        ):
            found[kind] = _asked(values, classes, groups, seed)
    return found


def _asked(values: NDArray[np.float64], label: NDArray[Any], group: NDArray[np.int64], seed: int) -> dict[str, Any]:
    fewest = min(len(np.unique(group[label == name])) for name in np.unique(label))
    if fewest < 2:
        return {"status": "undefined", "reason": "a class has a single group, so no fold can be held out of it"}
    folds, names = min(FOLDS, fewest), sorted(set(label.tolist()))
    multi = [_score(values, label, group, folds, rng.seed(seed, "shortcut", turn)) for turn in range(REPEATS)]
    against: Mapping[str, float] = {
        name: float(np.mean([
            _score(values, label == name, group, folds, rng.seed(seed, "shortcut", turn)) for turn in range(REPEATS)
        ]))
        for name in names
    } if len(names) > 2 else {}  # fmt: skip
    deals = []
    for turn in range(DEALS):
        dealt = _dealt(label, group, rng.generator(seed, "shortcut deal", turn))
        deals.append(_score(values, dealt, group, folds, rng.seed(seed, "shortcut", turn)))
    return {
        "status": "ok",
        "balanced_accuracy": float(np.mean(multi)),
        "sd": float(np.std(multi)),
        "null": float(np.quantile(deals, 0.95)),
        "chance": 1 / len(names),
        "one_vs_rest": dict(against),
    }


def _score(values: NDArray[np.float64], label: NDArray[Any], group: NDArray[np.int64], folds: int, seed: int) -> float:
    tree = DecisionTreeClassifier(max_depth=DEPTH, class_weight="balanced", random_state=0)
    cut = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**32)
    said = cross_val_predict(tree, values, label.astype(str), groups=group, cv=cut)
    return float(balanced_accuracy_score(label.astype(str), said))


def _dealt(label: NDArray[Any], group: NDArray[np.int64], random: np.random.Generator) -> NDArray[Any]:
    """Labels dealt anew: every group takes the labels' mix of another one, its most frequent label for all its images."""
    names = np.array([pd.Series(label[group == one]).mode().iloc[0] for one in range(group.max() + 1)], dtype=object)
    return random.permutation(names)[group]
