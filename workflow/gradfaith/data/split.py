"""Split groups into train, val and test parts, stratified and seeded, so that no group is in two parts.

Groups are assigned in random order, large ones first. Each goes to the part whose share of every class it brings nearest to
the request. Of TRIES such orders the best balanced one is kept. (scikit-learn's StratifiedGroupKFold does this for equal folds
only.) All orders are computed together, one group of each at a time, so the cost is one step per group: about 0.35 s for 5000
groups (benchmarks/split.py). Groups with a pixel-identical image stay together as one group. `by: slice` also splits groups:
this is the leaky split of the papers, for comparison. `by: folder` takes the release's own parts: images below a folder `test`
are the test part, and those below `train` are divided into train and val by group.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from gradfaith import rng
from gradfaith.errors import SplitImpossible
from gradfaith.vocabulary import PARTS

TRIES = 200
RELEASE_PARTS = r"(?:^|/)(train|test)/"  # in the path of an image
SIZE_WEIGHT = 0.5  # weight of group size against chance in the order


def split(
    manifest: pd.DataFrame,
    shares: Mapping[str, float],
    *,
    classes: Sequence[str],
    tolerance: float,
    seed: int,
    by: str = "group",
    tries: int = TRIES,
) -> pd.DataFrame:
    """Return image_id and part of every image; raise SplitImpossible if the groups cannot meet the request.

    `manifest`: readable images with label, group and pixel_hash. `shares`: of each part. `tolerance`: the allowed
    difference of a part's share of all images, and of each class. `by`: group, slice or folder. `tries`: number of random
    orders.
    """
    if by == "folder":
        return _split_by_folder(manifest, shares, classes=classes, tolerance=tolerance, seed=seed, tries=tries)
    parts = [part for part in PARTS if shares[part] > 0]
    block = _inseparable_blocks(manifest) if by == "group" else np.arange(len(manifest))
    label = manifest["label"].map({name: place for place, name in enumerate(classes)}).to_numpy()
    counts = np.zeros((block.max() + 1, len(classes)))  # (blocks, classes)
    np.add.at(counts, (block, label), 1)
    _check_possible(counts, parts, classes)
    targets = np.array([shares[part] for part in parts])[:, None] * counts.sum(axis=0)  # (parts, classes)
    orders = _random_orders(counts.sum(axis=1), [rng.generator(seed, "split", attempt) for attempt in range(tries)])
    owners, held = _assign_greedily(counts, targets, orders)
    best = owners[_costs(held, targets, counts.sum(axis=0)).argmin()]
    table = pd.DataFrame({"image_id": manifest["image_id"].to_numpy(), "part": np.array(parts)[best[block]]})
    if by == "group":
        _check_groups_whole(table, manifest)
    _check_shares(table, manifest, shares, tolerance)
    return table


def _split_by_folder(manifest: pd.DataFrame, shares: Mapping[str, float], **how: Any) -> pd.DataFrame:
    """Take the test part from its folder, and divide the images of the folder `train` into train and val by group."""
    folder = manifest["file"].str.extract(RELEASE_PARTS, expand=False)
    if folder.isna().any() or folder.nunique() < 2:
        found = ", ".join(sorted(folder.dropna().unique())) or "none"
        raise SplitImpossible(
            problem=f"`split.by: folder` found these parts in the paths of the images: {found}; {int(folder.isna().sum())} have none.",
            reason="With this key the release's own folders `train` and `test` decide the test part.",
            fix="Set `split.by: group`, or use a dataset whose images lie below folders `train` and `test`.",
        )
    trained = {"train": shares["train"], "val": shares["val"]}
    whole = sum(trained.values())
    inner = split(
        manifest[folder == "train"], {name: share / whole for name, share in trained.items()} | {"test": 0}, **how
    )
    part = folder.where(folder == "test", manifest["image_id"].map(inner.set_index("image_id")["part"]))
    table = pd.DataFrame({"image_id": manifest["image_id"].to_numpy(), "part": part.to_numpy()})
    across = (
        manifest.assign(part=part.to_numpy()).groupby("group")["part"].agg(lambda parts: (parts == "test").nunique())
    )
    if (across > 1).any():
        raise SplitImpossible(
            problem=f"group {across.index[across > 1][0]!r} has images below `train` and below `test`.",
            reason="A group in both parts would be trained on and measured.",
            fix="Set `split.by: group`, which never divides a group.",
        )
    return table


def split_report(table: pd.DataFrame, manifest: pd.DataFrame, shares: Mapping[str, float]) -> dict[str, Any]:
    """Report shares, class balance and groups of every part, and the gap to the requested shares."""
    merged = manifest.merge(table, on="image_id", validate="one_to_one")
    total, sizes = len(merged), merged.groupby("label").size()
    return {
        str(part): {
            "images": len(rows),
            "share": round(len(rows) / total, 4),
            "groups": int(rows["group"].nunique()),
            "classes": {
                str(name): {
                    "images": len(members),
                    "groups": int(members["group"].nunique()),
                    "share": round(len(members) / sizes[name], 4),
                    "gap": round(len(members) / sizes[name] - shares[str(part)], 4),
                    "largest_group": round(members["group"].value_counts().iloc[0] / sizes[name], 4),
                }
                for name, members in rows.groupby("label")
            },
        }
        for part, rows in merged.groupby("part")
    }


def _inseparable_blocks(manifest: pd.DataFrame) -> NDArray[np.int64]:
    """Return a number for every image: equal if groups are equal, or linked by an identical image."""
    group, _ = pd.factorize(manifest["group"], sort=True)
    pixel, _ = pd.factorize(manifest["pixel_hash"], sort=True)
    shape = (group.max() + 1, pixel.max() + 1)
    links = coo_matrix((np.ones(len(group)), (group, pixel)), shape=shape).tocsr()
    _, component = connected_components(links @ links.T, directed=False)
    blocks: NDArray[np.int64] = component[group]
    return blocks


def _random_orders(size: NDArray[Any], randoms: Sequence[np.random.Generator]) -> NDArray[np.int64]:
    """Return one random order of the blocks per generator, large blocks first.  (blocks, orders)"""
    weights = SIZE_WEIGHT * size / size.max()
    return np.stack([np.argsort(-(weights + random.random(len(size)))) for random in randoms], axis=1)


def _assign_greedily(
    counts: NDArray[Any], targets: NDArray[Any], orders: NDArray[np.int64]
) -> tuple[NDArray[np.int8], NDArray[Any]]:
    """Assign blocks to parts greedily in every order; return each block's part and the counts of each part.

    `counts`: images, (blocks, classes); `targets`: (parts, classes); `orders`: (blocks, orders). The results have the
    shapes (orders, blocks) and (orders, parts, classes).
    """
    every = np.arange(orders.shape[1])
    held = np.zeros((len(every), *targets.shape))
    owners = np.zeros(orders.T.shape, dtype=np.int8)
    scale = np.maximum(counts.sum(axis=0), 1)
    share = np.maximum(targets.sum(axis=1) / targets.sum(), 1e-9)
    for rows in orders:  # the next block in each order
        images = counts[rows]  # (orders, classes)
        lack = (targets - held) / scale
        gain = (lack * images[:, None]).sum(axis=2) / share  # (orders, parts)
        chosen = gain.argmax(axis=1)
        owners[every, rows] = chosen
        held[every, chosen] += images
    return owners, held


def _costs(held: NDArray[Any], targets: NDArray[Any], totals: NDArray[Any]) -> NDArray[np.float64]:
    """Return the largest gap to a target as a share of its class, plus one per class that a part lacks.  (orders,)"""
    missing = ((held == 0) & (targets > 0)).sum(axis=(1, 2))
    costs: NDArray[np.float64] = missing + np.abs((held - targets) / np.maximum(totals, 1)).max(axis=(1, 2))
    return costs


def _check_possible(counts: NDArray[Any], parts: Sequence[str], classes: Sequence[str]) -> None:
    groups = (counts > 0).sum(axis=0)
    short = {name: int(number) for name, number in zip(classes, groups, strict=True) if number < len(parts)}
    if short:
        raise SplitImpossible(
            problem=f"{len(parts)} parts ({', '.join(parts)}) need every class, but there are too few independent groups: {short}.",
            reason="A group is never divided, so a class with fewer groups than parts would be missing from one part. Groups that "
            "share an equal image, or an equal row of a table, count as one.",
            fix="Add groups of this class. In a study of images you can also remove the class from `classes:` in the dataset's file.",
        )


def _check_groups_whole(table: pd.DataFrame, manifest: pd.DataFrame) -> None:
    """Check once more that no group and no image is in two parts."""
    merged = manifest.merge(table, on="image_id", validate="one_to_one")
    for key in ("group", "pixel_hash"):
        if (merged.groupby(key)["part"].nunique() > 1).any():
            raise AssertionError(f"a {key} is in two parts")


def _check_shares(table: pd.DataFrame, manifest: pd.DataFrame, shares: Mapping[str, float], tolerance: float) -> None:
    """Check that the parts have the requested shares."""
    merged = manifest.merge(table, on="image_id", validate="one_to_one")
    whole = merged.groupby("part").size() / len(merged)
    per_class = pd.crosstab(merged["part"], merged["label"], normalize="columns")
    for part, share in shares.items():
        found = {"all": float(whole.get(part, 0)), **(per_class.loc[part].to_dict() if part in per_class.index else {})}
        off = {
            name: round(value, 3)
            for name, value in found.items()
            if abs(value - share) > tolerance or (share > 0 and value == 0)
        }
        if off:
            raise SplitImpossible(
                problem=f"the best split gives {part} these shares: {off}; the study requests {share:g} with a tolerance of {tolerance:g}.",
                reason="Groups are never divided, and no assignment of groups with these sizes is nearer to the request.",
                fix="Set a larger split.tolerance (and report it), set other shares, or add groups.",
            )
