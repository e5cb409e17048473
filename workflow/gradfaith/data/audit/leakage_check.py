"""Decide from a dataset's audit whether a study may use its split.

It may not if a nearest neighbour finds too many of the test images' classes in the training part. An external evaluation
has no split; it may not use an image on which its models were trained or selected.
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
            problem=f"one nearest neighbour at {audit['leakage']['side']} px names {probe:.3f} of the test part's classes "
            f"(balanced; chance {audit['leakage']['chance']:.3f}, split.leak_limit {limit:g}).",
            reason="It knows nothing of disease: it found the same patients, or the same scanner, in the training part.",
            fix="Look at the audit (`snakemake figure_audit`). Mend the groups; or, where the classes truly are so easy, "
            "raise split.leak_limit; or set split.allow_leaky_split: every table will say so.",
        )
    said = (
        f"one nearest neighbour reaches {probe:.3f} from train to test"
        if probe is not None
        else audit["leakage"]["reason"]
    )
    how = "Slices of one patient lie on both sides of this split" if settings.by == "slice" else "This split leaks"
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
            problem=f"{overlap['images']} images are, pixel by pixel, ones that the models of study {overlap['study']} were trained on or "
            f"chosen by: {', '.join(overlap['list'][:3])}{', ...' if overlap['images'] > 3 else ''}.",
            reason="An external evaluation on images that the models know measures memory, not skill.",
            fix="Take these images and their patients out; data/audit.json lists them.",
        )
