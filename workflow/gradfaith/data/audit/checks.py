"""Check a dataset and its split: count images, find duplicates, and measure whether the split leaks.

Exact duplicates share a pixel hash; near duplicates correlate at NEAR_DUPLICATE_NCC or more at 128 px. Within a group
they only count twice. Across groups they are a leak; for exact duplicates the split prevents it by keeping such groups
together. Across classes one of the labels is wrong.

A nearest neighbour measures leakage: it has learnt nothing about disease, and only finds the most similar image.

    probe = balanced accuracy in the test part of the class of the nearest training image, 32 x 32 pixels, Euclidean

If slices of the same patients are in both parts, the value is near 1; with different patients it is near chance, 1 / classes.
It is computed for this split, for RANDOM_SPLITS splits that ignore groups, and for GROUP_SPLITS further splits by group. It
is also computed without the lungs, so that disease cannot be recognised: the same region is removed from all images,
everywhere that COMMON_LUNG_SHARE of them have lung. A study without training has no split that could leak; then the result
is a reason instead of numbers. Cost: one matrix product per split.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation

from gradfaith import rng
from gradfaith.config.job_settings import SplitSettings
from gradfaith.data.grouping import similarity
from gradfaith.data.lungs import lung_mask
from gradfaith.data.split import split
from gradfaith.errors import SplitImpossible
from gradfaith.storage.atomic import ScratchRows

NEAR_DUPLICATE_NCC = 0.97  # correlation at 128 px from which two images are near duplicates
MAX_LISTED = 60  # images or pairs that are listed
TILE_ROWS = 128  # images per matrix product: 8 MB


def count_images(manifest: pd.DataFrame) -> dict[str, Any]:
    """Count images, groups, classes and sizes of a manifest, and list the files that could not be read."""
    bad, manifest = manifest[manifest["status"] != "ok"], manifest[manifest["status"] == "ok"]
    per_class = manifest.groupby("label").agg(
        images=("image_id", "size"),
        groups=("group", "nunique"),
        with_evidence=("lesion_px", lambda px: int((px > 0).sum())),
    )
    sizes = manifest.groupby("group").size()
    shapes = manifest["width"].astype(str) + "x" + manifest["height"].astype(str)
    return {
        "images": len(manifest),
        "unreadable": dict(zip(bad["image_id"], bad["reason"], strict=True)),
        "groups": int(manifest["group"].nunique()),
        "group_kind": sorted(manifest["group_kind"].unique()),
        "classes": {str(name): row for name, row in per_class.to_dict(orient="index").items()},
        "group_size": {"smallest": int(sizes.min()), "median": float(sizes.median()), "largest": int(sizes.max())},
        "groups_in_several_classes": sorted(manifest.groupby("group")["label"].nunique().loc[lambda n: n > 1].index),
        "image_sizes": {str(size): int(n) for size, n in shapes.value_counts().items()},
    }


def exact_duplicates(manifest: pd.DataFrame) -> dict[str, Any]:
    """Find every set of images with the same pixels."""
    sets = [rows for _, rows in manifest.groupby("pixel_hash", sort=True) if len(rows) > 1]
    return {
        "sets": len(sets),
        "images": sum(len(rows) for rows in sets),
        "across_groups": sum(rows["group"].nunique() > 1 for rows in sets),
        "across_classes": sum(rows["label"].nunique() > 1 for rows in sets),
        "list": [sorted(rows["image_id"]) for rows in sets],
    }


def near_duplicates(thumbs: NDArray[np.uint8] | ScratchRows, table: pd.DataFrame) -> dict[str, Any]:  # (n, 128, 128)
    """Find near-duplicate pairs; list those across classes or groups, and count those across parts too.

    `thumbs` are in the order of `table`, which has image_id, pixel_hash, label, group and part.
    """
    pairs, value = map(np.concatenate, zip(*similarity.pairs_above(thumbs, NEAR_DUPLICATE_NCC, TILE_ROWS), strict=True))
    columns = {
        name: table[name].to_numpy(dtype=object) for name in ("image_id", "pixel_hash", "label", "group", "part")
    }
    other = columns["pixel_hash"][pairs[:, 0]] != columns["pixel_hash"][pairs[:, 1]]
    pairs, value = pairs[other], value[other]
    differs = {name: columns[name][pairs[:, 0]] != columns[name][pairs[:, 1]] for name in ("label", "group", "part")}
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -value))  # among equals the first images, independent of the tiles
    named = {
        f"across_{many}": [
            [*columns["image_id"][pairs[row]].tolist(), round(float(value[row]), 4)]
            for row in order
            if differs[name][row]
        ][:MAX_LISTED]
        for name, many in (("label", "classes"), ("group", "groups"))
    }
    return {
        "least": NEAR_DUPLICATE_NCC,
        "pairs": len(pairs),
        "images": len(np.unique(pairs)),
        **{f"pairs_across_{many}": int(differs[name].sum()) for name, many in (("label", "classes"), ("group", "groups"), ("part", "parts"))},
        **named,
    }  # fmt: skip


def overlap_with_training(manifest: pd.DataFrame, study: str, trained: pd.DataFrame | None) -> dict[str, Any] | None:
    """Find the images on which an external study's models were trained or selected.

    `trained`: that study's images, with part and pixel_hash.
    """
    if trained is None:
        return None
    known = set(trained.loc[trained["part"] != "test", "pixel_hash"])
    found = manifest.loc[manifest["pixel_hash"].isin(known), "image_id"]
    return {"study": study, "images": len(found), "list": sorted(found)[:MAX_LISTED]}


def summarise_grouping(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the part of the report on inferred groups that the audit shows."""
    keys = (
        "version",
        "groups",
        "largest",
        "spread",
        "links",
        "missing_must_links",
        "table_sha256",
        "caution",
        "parameters",
    )
    return {key: report[key] for key in keys} if report else None


PROBE_SIDE = 32  # side in pixels of the images that the probe compares
RANDOM_SPLITS = 5  # splits that ignore groups
GROUP_SPLITS = 5  # further splits by group
COMMON_LUNG_SHARE = 0.02  # minimum share of the images with lung at a position
SPLIT_TRIES = 20  # for a split that no training uses
ProbeImages = NDArray[np.float32]  # (n, PROBE_SIDE, PROBE_SIDE)


def probe_image(pixels: NDArray[np.uint8]) -> ProbeImages:  # (c, h, w) -> (PROBE_SIDE, PROBE_SIDE)
    """Scale an image down to the grey square that the leakage probe compares."""
    grey = np.round(pixels.mean(axis=0)).astype(np.uint8)
    return np.asarray(Image.fromarray(grey).resize((PROBE_SIDE, PROBE_SIDE), Image.Resampling.BOX), dtype=np.float32)


def leakage_probe(
    thumbs: ProbeImages, air: NDArray[np.float32], table: pd.DataFrame, settings: SplitSettings, seed: int
) -> dict[str, Any]:
    """Measure how well a nearest neighbour in train predicts the classes in test, on this split and on others.

    `table`: image_id, label, part, group and pixel_hash, in the order of `thumbs`; `air`: the share of images
    with lung at each position, (PROBE_SIDE, PROBE_SIDE); `settings`: the study's split.
    """
    part = table["part"].to_numpy()
    if not (part == "train").any():
        return {"reason": "this study trained no model on these images", "this": None, "random": [], "groups": []}
    rim = thumbs * ~binary_dilation(air >= COMMON_LUNG_SHARE, np.ones((3, 3)))
    label = pd.factorize(table["label"], sort=True)[0]
    flat = {"whole": thumbs.reshape(len(thumbs), -1), "rim": rim.reshape(len(rim), -1)}

    def accuracies(train: NDArray[np.bool_], test: NDArray[np.bool_]) -> dict[str, float]:
        return {name: nearest_neighbour_accuracy(seen, label, train, test) for name, seen in flat.items()}

    return {
        "reason": "",
        "chance": 1 / len(np.unique(label)),
        "this": accuracies(part == "train", part == "test"),
        "random": [accuracies(~test, test) for test in _random_test_parts(len(table), seed)],
        "groups": [accuracies(*parts) for parts in _group_splits(table, settings, seed)],
        "side": PROBE_SIDE,
        "lungs_cut": float((air >= COMMON_LUNG_SHARE).mean()),
    }


def nearest_neighbour_accuracy(
    flat: NDArray[np.float32], label: NDArray[np.int64], train: NDArray[np.bool_], test: NDArray[np.bool_]
) -> float:
    """Return the balanced accuracy of the nearest neighbour; classes missing from the test part do not count.

    `flat`: (n, pixels); `label`: (n,) class numbers; `train`, `test`: (n,) which images are in each part.
    """
    references, queries = flat[train], flat[test]
    squares = (references**2).sum(axis=1)
    blocks = np.array_split(queries, max(1, len(queries) // 1024))
    place = np.concatenate([(squares - 2 * block @ references.T).argmin(axis=1) for block in blocks])
    right = label[train][place] == label[test]
    return float(np.mean([right[label[test] == one].mean() for one in np.unique(label[test])]))


def lung_share(images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:  # of (c, h, w) -> (PROBE_SIDE, PROBE_SIDE)
    """Return the share of the images with lung at each position."""
    found = [
        np.asarray(
            Image.fromarray(lung_mask(image[0]).astype(np.float32)).resize(
                (PROBE_SIDE, PROBE_SIDE), Image.Resampling.BOX
            )
        )
        >= 0.5
        for image in images
    ]
    share: NDArray[np.float32] = np.mean(found, axis=0, dtype=np.float32)
    return share


def _random_test_parts(count: int, seed: int) -> list[NDArray[np.bool_]]:
    """Draw test parts of one fifth, image by image."""
    masks = []
    for attempt in range(RANDOM_SPLITS):
        chosen = rng.generator(seed, "leakage", attempt).permutation(count)[: max(1, count // 5)]
        masks.append(np.isin(np.arange(count), chosen))
    return masks


def _group_splits(
    table: pd.DataFrame, settings: SplitSettings, seed: int
) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Make training and test parts of further splits by group."""
    found = []
    for attempt in range(1, GROUP_SPLITS + 1):
        try:
            part = split(
                table.drop(columns="part"),
                settings.shares,
                classes=settings.classes,
                tolerance=1.0,
                tries=SPLIT_TRIES,
                seed=rng.seed(seed, "leakage split", attempt),
            )["part"].to_numpy()
        except SplitImpossible:
            continue
        found.append((part == "train", part == "test"))
    return found
