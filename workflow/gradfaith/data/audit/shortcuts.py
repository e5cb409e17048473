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
    asks = _asks(label.to_numpy(dtype=object), pd.factorize(group, sort=True)[0], seed)
    found = {}
    for kind, columns in KINDS.items():
        if not set(columns) <= set(table.columns):
            continue
        values = table[list(columns)].to_numpy(dtype=np.float64)
        if values.std(axis=0).any():
            found[kind] = _answered(values, asks)
    return found


@dataclass(frozen=True)
class Ask:
    """Labels to tell apart, and which fold each image is held out in."""

    label: NDArray[Any]
    fold: NDArray[np.int64]

    def score(self, values: NDArray[np.float64]) -> float:
        """Balanced accuracy of trees, each asked of the fold it has not seen."""
        said = np.empty_like(self.label)
        for fold in np.unique(self.fold):
            tree = DecisionTreeClassifier(max_depth=DEPTH, class_weight="balanced", random_state=0)
            held = self.fold == fold
            said[held] = tree.fit(values[~held], self.label[~held]).predict(values[held])
        return float(balanced_accuracy_score(self.label, said))


def _asks(label: NDArray[Any], group: NDArray[np.int64], seed: int) -> dict[str, list[Ask]]:
    """What is asked of every kind alike: all classes, each class against the rest (by its name), labels dealt anew."""
    names = sorted(set(label.tolist()))
    folds = min(FOLDS, *(len(np.unique(group[label == name])) for name in names))
    if folds < 2:
        return {}

    def ask(wanted: NDArray[Any], turn: int) -> Ask:
        cut = StratifiedGroupKFold(folds, shuffle=True, random_state=rng.seed(seed, "shortcut", turn) % 2**32)
        fold, text = np.zeros(len(wanted), dtype=np.int64), wanted.astype(str)
        for number, (_, held) in enumerate(cut.split(text, text, group)):
            fold[held] = number
        return Ask(text, fold)

    hand = _most_frequent(label, group)
    dealt = [rng.generator(seed, "shortcut deal", turn).permutation(hand)[group] for turn in range(DEALS)]
    versus = {f"vs {name}": [ask(label == name, turn) for turn in range(REPEATS)] for name in names if len(names) > 2}
    return {
        "all": [ask(label, turn) for turn in range(REPEATS)],
        "dealt": [ask(one, turn) for turn, one in enumerate(dealt)],
        **versus,
    }


def _answered(values: NDArray[np.float64], asks: Mapping[str, Sequence[Ask]]) -> dict[str, Any]:
    if not asks:
        return {"status": "undefined", "reason": "a class has a single group, so no fold can be held out of it"}
    scores = {name: [one.score(values) for one in several] for name, several in asks.items()}
    return {
        "status": "ok",
        "balanced_accuracy": float(np.mean(scores["all"])),
        "sd": float(np.std(scores["all"])),
        "null": float(np.quantile(scores["dealt"], 0.95)),
        "chance": 1 / len(np.unique(asks["all"][0].label)),
        "one_vs_rest": {
            name.removeprefix("vs "): float(np.mean(found)) for name, found in scores.items() if name.startswith("vs ")
        },
    }


def _most_frequent(label: NDArray[Any], group: NDArray[np.int64]) -> NDArray[Any]:
    """The label that each group has most often, the first of equals: what is dealt anew, all of a group's images at once."""
    names, place = np.unique(label, return_inverse=True)
    counts = np.zeros((group.max() + 1, len(names)), dtype=np.int64)
    np.add.at(counts, (group, place), 1)
    dealt: NDArray[Any] = names[counts.argmax(axis=1)]
    return dealt
