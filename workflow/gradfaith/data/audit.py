"""A first audit of a manifest: how many images and groups, and which images are the same.

Exact duplicates share a pixel hash. Within a group they only weigh double; across groups they are a leak, which the split
closes by keeping such groups together; across classes one of the labels is wrong.
"""

from typing import Any

import pandas as pd


def audit(manifest: pd.DataFrame) -> dict[str, Any]:
    """Counts, and every set of images with the same pixels."""
    sets = [rows for _, rows in manifest.groupby("pixel_hash", sort=True) if len(rows) > 1]
    per_class = manifest.groupby("label").agg(
        images=("image_id", "size"),
        groups=("group", "nunique"),
        with_evidence=("lesion_px", lambda px: int((px > 0).sum())),
    )
    sizes = manifest.groupby("group").size()
    return {
        "images": len(manifest),
        "groups": int(manifest["group"].nunique()),
        "group_kind": sorted(manifest["group_kind"].unique()),
        "classes": per_class.to_dict(orient="index"),
        "group_size": {"smallest": int(sizes.min()), "median": float(sizes.median()), "largest": int(sizes.max())},
        "groups_in_several_classes": sorted(manifest.groupby("group")["label"].nunique().loc[lambda n: n > 1].index),
        "image_sizes": sorted({f"{w}x{h}" for w, h in zip(manifest["width"], manifest["height"], strict=True)}),
        "duplicates": {
            "sets": len(sets),
            "images": sum(len(rows) for rows in sets),
            "across_groups": sum(rows["group"].nunique() > 1 for rows in sets),
            "across_classes": sum(rows["label"].nunique() > 1 for rows in sets),
            "list": [sorted(rows["image_id"]) for rows in sets],
        },
    }
