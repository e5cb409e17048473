"""Does a split leak? One nearest neighbour tells: it knows nothing of disease, it only finds the picture most alike.

    probe = balanced accuracy in the test part of the class of the nearest training image, 32 x 32 pixels, Euclidean

On slices of the same patients it comes near 1, on other patients near chance, 1 / classes. It is asked of this split, of
RANDOM splits that pay no heed to groups, and of SEEDS further splits by group; of the whole image, and of what is left
when the lungs are cut away - the same region from all images, wherever in COMMON of them there is lung - so that disease
cannot be what is recognised. A study that trains nothing has no split that could leak: a reason stands in place of numbers.
Cost: one matrix product per split.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation

from gradfaith import rng
from gradfaith.data.lungs import lungs
from gradfaith.data.split import split
from gradfaith.errors import SplitImpossible

SIDE, RANDOM, SEEDS, COMMON = 32, 5, 5, 0.02
TRIES = 20  # for a split that nothing is trained on
Thumbs = NDArray[np.float32]  # (n, SIDE, SIDE)


def thumb(pixels: NDArray[np.uint8]) -> Thumbs:  # (c, h, w) -> (SIDE, SIDE)
    grey = np.round(pixels.mean(axis=0)).astype(np.uint8)
    return np.asarray(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)


def probe(
    thumbs: Thumbs, air: NDArray[np.float32], table: pd.DataFrame, how: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """`table`: image_id, label, part, group, pixel_hash, in the order of `thumbs`; `how`: the study's split."""
    part = table["part"].to_numpy()
    if not (part == "train").any():
        return {"reason": "this study trained no model on these images", "this": None, "random": [], "groups": []}
    rim = thumbs * ~binary_dilation(air >= COMMON, np.ones((3, 3)))
    label = pd.factorize(table["label"], sort=True)[0]
    flat = {"whole": thumbs.reshape(len(thumbs), -1), "rim": rim.reshape(len(rim), -1)}

    def ask(train: NDArray[np.bool_], test: NDArray[np.bool_]) -> dict[str, float]:
        return {name: nearest(seen, label, train, test) for name, seen in flat.items()}

    return {
        "reason": "",
        "chance": 1 / len(np.unique(label)),
        "this": ask(part == "train", part == "test"),
        "random": [ask(~test, test) for test in _random(len(table), seed)],
        "groups": [ask(*parts) for parts in _others(table, how, seed)],
        "side": SIDE,
        "lungs_cut": float((air >= COMMON).mean()),
    }


def nearest(
    flat: NDArray[np.float32], label: NDArray[np.int64], train: NDArray[np.bool_], test: NDArray[np.bool_]
) -> float:
    """Balanced accuracy of the nearest neighbour; classes that the test part lacks do not count."""
    known, asked = flat[train], flat[test]
    squares = (known**2).sum(axis=1)
    blocks = np.array_split(asked, max(1, len(asked) // 1024))
    place = np.concatenate([(squares - 2 * block @ known.T).argmin(axis=1) for block in blocks])
    right = label[train][place] == label[test]
    return float(np.mean([right[label[test] == one].mean() for one in np.unique(label[test])]))


def air_share(images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:  # of (c, h, w) -> (SIDE, SIDE)
    """In which share of the images each place is lung."""
    found = [
        np.asarray(Image.fromarray(lungs(image[0]).astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BOX))
        >= 0.5
        for image in images
    ]
    share: NDArray[np.float32] = np.mean(found, axis=0, dtype=np.float32)
    return share


def _random(many: int, seed: int) -> list[NDArray[np.bool_]]:
    """Test parts of a fifth, drawn image by image."""
    masks = []
    for attempt in range(RANDOM):
        chosen = rng.generator(seed, "leakage", attempt).permutation(many)[: max(1, many // 5)]
        masks.append(np.isin(np.arange(many), chosen))
    return masks


def _others(
    table: pd.DataFrame, how: Mapping[str, Any], seed: int
) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Training and test parts of further splits by group."""
    shares = {part: how[part] for part in ("train", "val", "test")}
    found = []
    for attempt in range(1, SEEDS + 1):
        try:
            part = split(
                table.drop(columns="part"),
                shares,
                classes=how["classes"],
                tolerance=1.0,
                tries=TRIES,
                seed=rng.seed(seed, "leakage split", attempt),
            )["part"].to_numpy()
        except SplitImpossible:
            continue
        found.append((part == "train", part == "test"))
    return found
