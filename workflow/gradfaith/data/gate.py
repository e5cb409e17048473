"""Whether a study may go on with its split: not if a nearest neighbour finds too many of the answers in the training part.

An external evaluation has no split; it may not go on where an image is one that its models were trained on or chosen by.
"""

from collections.abc import Mapping
from typing import Any

from gradfaith.errors import LeakySplit


def verdict(audit: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the probe says of the split, and the warning that every table then carries; a leak not allowed is refused."""
    _unseen(audit["seen_before"])
    this, limit = audit["leakage"]["this"], asked["leak_limit"]
    probe = this["whole"] if this else None
    leaks = asked["by"] == "slice" or (probe is not None and probe > limit)
    if leaks and not asked["allow_leaky_split"]:
        raise LeakySplit(
            found=f"one nearest neighbour at {audit['leakage']['side']} px names {probe:.3f} of the test part's classes "
            f"(balanced; chance {audit['leakage']['chance']:.3f}, split.leak_limit {limit:g}).",
            why="It knows nothing of disease: it found the same patients, or the same scanner, in the training part.",
            then="Look at the audit (`snakemake figure_audit`). Mend the groups; or, where the classes truly are so easy, "
            "raise split.leak_limit; or set split.allow_leaky_split: every table will say so.",
        )
    said = (
        f"one nearest neighbour reaches {probe:.3f} from train to test"
        if probe is not None
        else audit["leakage"]["reason"]
    )
    how = "Slices of one patient lie on both sides of this split" if asked["by"] == "slice" else "This split leaks"
    return {
        "leaky": leaks,
        "by": asked["by"],
        "probe": probe,
        "limit": limit,
        "caution": f"LEAKY SPLIT. {how} ({said}): these numbers measure memory as well as skill." if leaks else "",
    }


def _unseen(seen: Mapping[str, Any] | None) -> None:
    if seen and seen["images"]:
        raise LeakySplit(
            found=f"{seen['images']} images are, pixel by pixel, ones that the models of study {seen['study']} were trained on or "
            f"chosen by: {', '.join(seen['list'][:3])}{', ...' if seen['images'] > 3 else ''}.",
            why="An external evaluation on images that the models know measures memory, not skill.",
            then="Take these images and their patients out; data/audit.json lists them.",
        )
