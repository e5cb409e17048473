"""The audit of a dataset and its split: what is there, what is there twice, whether the split leaks, what gives the class away.

Exact duplicates share a pixel hash; near duplicates correlate at NEAR or more at 128 px. Within a group they only weigh
double; across groups they are a leak, which the split closes for exact ones by keeping such groups together; across
classes one of the labels is wrong.

Does a split leak? One nearest neighbour tells: it knows nothing of disease, it only finds the picture most alike.

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
from gradfaith.data.grouping import similarity
from gradfaith.data.lungs import lungs
from gradfaith.data.split import split
from gradfaith.errors import SplitImpossible

NEAR, LISTED = 0.97, 60


def counts(manifest: pd.DataFrame) -> dict[str, Any]:
    """How many images and groups, of which sizes, and which files could not be read."""
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


def duplicates(manifest: pd.DataFrame) -> dict[str, Any]:
    """Every set of images with the same pixels."""
    sets = [rows for _, rows in manifest.groupby("pixel_hash", sort=True) if len(rows) > 1]
    return {
        "sets": len(sets),
        "images": sum(len(rows) for rows in sets),
        "across_groups": sum(rows["group"].nunique() > 1 for rows in sets),
        "across_classes": sum(rows["label"].nunique() > 1 for rows in sets),
        "list": [sorted(rows["image_id"]) for rows in sets],
    }


def near_duplicates(thumbs: NDArray[np.uint8], table: pd.DataFrame) -> dict[str, Any]:  # (n, 128, 128)
    """Pairs that are nearly the same, the suspicious ones by name: across classes, across groups, across parts."""
    pairs, value = map(np.concatenate, zip(*similarity.above(thumbs, NEAR), strict=True))
    columns = {
        name: table[name].to_numpy(dtype=object) for name in ("image_id", "pixel_hash", "label", "group", "part")
    }
    other = columns["pixel_hash"][pairs[:, 0]] != columns["pixel_hash"][pairs[:, 1]]
    pairs, value = pairs[other], value[other]
    differs = {name: columns[name][pairs[:, 0]] != columns[name][pairs[:, 1]] for name in ("label", "group", "part")}
    order = np.argsort(-value, kind="stable")
    named = {
        f"across_{many}": [
            [*columns["image_id"][pairs[row]].tolist(), round(float(value[row]), 4)]
            for row in order
            if differs[name][row]
        ][:LISTED]
        for name, many in (("label", "classes"), ("group", "groups"))
    }
    return {
        "least": NEAR,
        "pairs": len(pairs),
        "images": len(np.unique(pairs)),
        **{f"pairs_across_{many}": int(differs[name].sum()) for name, many in (("label", "classes"), ("group", "groups"), ("part", "parts"))},
        **named,
    }  # fmt: skip


def seen_before(manifest: pd.DataFrame, study: str, trained: pd.DataFrame | None) -> dict[str, Any] | None:
    """Which images an external study's models were trained on, or chosen by, pixel for pixel; `trained` has part and pixel_hash."""
    if trained is None:
        return None
    known = set(trained.loc[trained["part"] != "test", "pixel_hash"])
    found = manifest.loc[manifest["pixel_hash"].isin(known), "image_id"]
    return {"study": study, "images": len(found), "list": sorted(found)[:LISTED]}


def groups_named(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Of the inference of groups what a reader of the audit needs."""
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
