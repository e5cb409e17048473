"""The audit of a dataset and its split: what is there, what is there twice, whether the split leaks, what gives the class away.

Exact duplicates share a pixel hash; near duplicates correlate at NEAR or more at 128 px. Within a group they only weigh
double; across groups they are a leak, which the split closes for exact ones by keeping such groups together; across
classes one of the labels is wrong.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.data import similarity

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
