"""Say what the data audit found, in sentences that the audit's figure and the summary of a study share.

Every function takes the content of audit.json (data/audit/report.py writes it) and returns one sentence or a few.
"""

from collections.abc import Mapping
from typing import Any

Audit = Mapping[str, Any]


def describe_images(found: Audit, noun: str) -> str:
    """Return how many images and groups there are; `noun`: the word for one group."""
    text = f"{found['images']} images of {found['groups']} {noun}s, at most {found['group_size']['largest']} of one {noun}."
    if found["release"]:
        text += f" {found['release'][:1].upper()}{found['release'][1:]}."
    if found["unreadable"]:
        text += f" {len(found['unreadable'])} files could not be read and are left out."
    return text


def describe_groups(found: Audit, noun: str) -> str:
    """Return where the groups come from; of inferred groups also their range over thresholds."""
    if found["inferred"]:
        return f"{found['inferred']['caution']} Over a grid of thresholds: {_group_ranges(found)}."
    return f"The dataset itself names the {noun}s."


def _group_ranges(found: Audit) -> str:
    """Return the groups of every class, their range over thresholds, and what the dataset's authors state."""
    spread = found["inferred"]["spread"]["groups"]
    ranges = [
        f"{name} {row['groups']} ({spread[name][0]} to {spread[name][1]}"
        + (f"; its authors say {found['claimed'][name]} patients)" if name in found["claimed"] else ")")
        for name, row in found["classes"].items()
        if name in spread
    ]
    return ", ".join(ranges)


def describe_duplicates(found: Audit) -> str:
    """Return how many images are in the dataset twice, and how many of those pairs do harm."""
    near, same = found["near_duplicates"], found["duplicates"]
    return (
        f"{same['images']} images are exact copies ({same['across_classes']} sets across classes). {near['pairs']} further pairs "
        f"are nearly the same: {near['pairs_across_classes']} across classes, {near['pairs_across_parts']} across parts of the split."
    )


def describe_leakage(found: Audit) -> str:
    """Return what a nearest neighbour that does not look for disease gets right across the split."""
    leak = found["leakage"]
    if not leak["this"]:
        return f"Leakage of the split was not measured: {leak['reason']}.{_describe_known_images(found['seen_before'])}"
    random = [one["whole"] for one in leak["random"]]
    beside = f", {sum(random) / len(random):.2f} on a random split of the slices" if random else ""
    return (
        f"Leakage check: one nearest neighbour, which does not look for disease, reaches a balanced accuracy of "
        f"{leak['this']['whole']:.2f} on this split{beside} (chance {leak['chance']:.2f})."
    )


def _describe_known_images(seen: Mapping[str, Any] | None) -> str:
    """Return whether the models come from a study that was trained on these images."""
    if not seen:
        return ""
    many = seen["images"] or "None"
    return f" {many} of the images are, pixel by pixel, among those that trained the models of study {seen['study']}."


def describe_shortcut(found: Audit) -> str:
    """Return the property of the files or images, beside disease, that tells the classes apart best."""
    scores = [
        (score, stage, kind, name)
        for stage, kinds in found["shortcuts"].items()
        for kind, row in kinds.items()
        if row["status"] == "ok"
        for name, score in (row["one_vs_rest"] or {"": row["balanced_accuracy"]}).items()
    ]
    if not scores:
        return "No shortcut could be probed: the dataset has too few groups."
    score, stage, kind, name = max(scores)
    what = f"{name} from the other classes" if name else "the classes"
    return f"Strongest shortcut: {kind} alone ({stage}) tells {what} with a balanced accuracy of {score:.2f} (chance 0.50)."
