"""Decide from a dataset's audit whether a study may use its split.

A study may not use its split if a nearest neighbour predicts too many of the test images' classes from the training part. An
external evaluation has no split; it may not use an image on which its models were trained or selected.
"""

from collections.abc import Mapping
from typing import Any

from gradfaith.config.job_settings import LeakageCheckSettings
from gradfaith.errors import LeakySplit


def check_leakage(audit: Mapping[str, Any], settings: LeakageCheckSettings) -> dict[str, Any]:
    """Return the probe's result and the warning for every table; raise LeakySplit if the leak is not allowed.

    `audit` is audit.json.
    """
    _refuse_known_images(audit["seen_before"])
    this, limit = audit["leakage"]["this"], settings.leak_limit
    probe = this["whole"] if this else None
    leaks = settings.by == "slice" or (probe is not None and probe > limit)
    if leaks and not settings.allow_leaky_split:
        raise LeakySplit(
            problem=f"the nearest training image, at {audit['leakage']['side']} px, has the class of {probe:.3f} of the test "
            f"images (balanced accuracy; chance {audit['leakage']['chance']:.3f}, split.leak_limit {limit:g}).",
            reason="A nearest neighbour learns no disease. Either both parts have images of the same patients, or each class has "
            "a scanner of its own, or the classes are very easy to tell apart.",
            fix="Look at the figure `audit`. Correct the groups if images of one patient are in both parts. "
            "If the classes are really that easy, raise split.leak_limit. Or set split.allow_leaky_split: true; every table then carries a warning.",
        )
    said = (
        f"one nearest neighbour reaches {probe:.3f} from train to test"
        if probe is not None
        else audit["leakage"]["reason"]
    )
    how = "Slices of one patient are in several parts of this split" if settings.by == "slice" else "This split leaks"
    return {
        "leaky": leaks,
        "by": settings.by,
        "probe": probe,
        "limit": limit,
        "caution": f"LEAKY SPLIT. {how} ({said}): these numbers measure memory as well as skill." if leaks else "",
    }


def _refuse_known_images(overlap: Mapping[str, Any] | None) -> None:
    if overlap and overlap["images"]:
        raise LeakySplit(
            problem=f"{overlap['images']} images are pixel-identical to images on which the models of study {overlap['study']} were trained or "
            f"selected: {', '.join(overlap['list'][:3])}{', ...' if overlap['images'] > 3 else ''}.",
            reason="An external evaluation needs images that the models have not seen.",
            fix="Remove these images and their patients from the dataset; data/audit.json lists them.",
        )
