"""Slow twins of the localization metrics: one map and one mask as lists of numbers, explicit loops, no shared code.

Each gives a number, or None where the formula has none.
"""

from collections.abc import Callable
from math import dist, inf, nextafter, sqrt

import numpy as np

Array2D = np.ndarray
Number = float | None


def flat(map_: Array2D, mask: Array2D) -> tuple[list[float], list[bool]]:
    return [float(value) for row in map_ for value in row], [bool(value) for row in mask for value in row]


def counts(map_: Array2D, mask: Array2D, threshold: str) -> tuple[float, float, float]:
    """Hits, marked, area."""
    values, inside = flat(map_, mask)
    area = sum(inside)
    if threshold == "area-matched":
        return expected_hits(values, inside, area), area, area
    level = otsu(values) if threshold == "otsu" else 0.5
    marked = [value >= level for value in values]
    return sum(a and b for a, b in zip(marked, inside, strict=True)), sum(marked), area


def expected_hits(values: list[float], inside: list[bool], wanted: int) -> float:
    """Level by level from the top: whole levels while they fit, then a share of the next."""
    hits, left = 0.0, wanted
    for level in sorted(set(values), reverse=True):
        there = [place for place, value in enumerate(values) if value == level]
        taken = min(left, len(there))
        hits += taken * sum(inside[place] for place in there) / len(there)
        left -= taken
    return hits


def otsu(values: list[float]) -> float:
    """The end of the lower side's last bin, of 256, where the variance between the sides is largest."""
    bins = [min(int(value * 256), 255) for value in values]
    best, threshold = -inf, 0.0
    for last in range(255):
        low = [(b + 0.5) / 256 for b in bins if b <= last]
        high = [(b + 0.5) / 256 for b in bins if b > last]
        if low and high:
            between = len(low) * len(high) * (sum(low) / len(low) - sum(high) / len(high)) ** 2
            if between > best * (1 + 1e-12):
                best, threshold = between, (last + 1) / 256
    return threshold


def recall(map_: Array2D, mask: Array2D, threshold: str = "fixed") -> Number:
    hits, _, area = counts(map_, mask, threshold)
    return hits / area if area else None


def precision(map_: Array2D, mask: Array2D, threshold: str = "fixed") -> Number:
    hits, marked, area = counts(map_, mask, threshold)
    return hits / marked if area and marked else None


def f1(map_: Array2D, mask: Array2D, threshold: str = "fixed") -> Number:
    p, r = precision(map_, mask, threshold), recall(map_, mask, threshold)
    if r is None:
        return None
    return 2 * p * r / (p + r) if p and r else 0.0


def iou(map_: Array2D, mask: Array2D, threshold: str = "fixed") -> Number:
    hits, marked, area = counts(map_, mask, threshold)
    return hits / (marked + area - hits) if area else None


def locacc_literature(map_: Array2D, mask: Array2D) -> Number:
    hits, _, area = counts(map_, mask, "fixed")
    return hits / (area + 1e-8)


def topk_overlap(map_: Array2D, mask: Array2D) -> Number:
    return recall(map_, mask, "area-matched")


def topk_gain(map_: Array2D, mask: Array2D) -> Number:
    overlap, chance = topk_overlap(map_, mask), mask.sum() / mask.size
    return None if overlap is None or chance == 1 else (overlap - chance) / (1 - chance)


def iou_area_matched(map_: Array2D, mask: Array2D) -> Number:
    overlap = topk_overlap(map_, mask)
    return None if overlap is None else overlap / (2 - overlap)


def tko_literature(map_: Array2D, mask: Array2D) -> Number:
    """The published lines, in words: the last K places of argpartition, and the IoU of two sets."""
    values = np.asarray(map_).ravel()
    wanted = int(mask.sum())
    top = set(np.argpartition(values, -wanted)[-wanted:].tolist())
    truth = {place for place, inside in enumerate(mask.ravel()) if inside}
    return len(top & truth) / len(top | truth)


def saliency_score(map_: Array2D, mask: Array2D) -> Number:
    values, inside = flat(map_, mask)
    mass = sum(values)
    return sum(v for v, i in zip(values, inside, strict=True) if i) / mass if mass and any(inside) else None


def gain(map_: Array2D, mask: Array2D) -> Number:
    share = saliency_score(map_, mask)
    return None if share is None else share / (mask.sum() / mask.size)


def outside(map_: Array2D, mask: Array2D) -> Number:
    share = saliency_score(map_, mask)
    return None if share is None else 1 - share


def border_share(map_: Array2D, mask: Array2D, width: float = 0.05) -> Number:
    (height, breadth), mass, rim = map_.shape, 0.0, 0.0
    down, across = max(1, round(width * height)), max(1, round(width * breadth))
    for y in range(height):
        for x in range(breadth):
            mass += float(map_[y, x])
            if not (down <= y < height - down and across <= x < breadth - across):
                rim += float(map_[y, x])
    return rim / mass if mass else None


def pointing_game(map_: Array2D, mask: Array2D, tolerance: int = 0) -> Number:
    places = [(y, x) for y in range(map_.shape[0]) for x in range(map_.shape[1])]
    peaks = [place for place in places if map_[place] == map_.max()]
    truth = [place for place in places if mask[place]]
    hits = sum(any(dist(peak, place) <= tolerance for place in truth) for peak in peaks)
    return hits / len(peaks) if truth else None


def cosine(map_: Array2D, mask: Array2D) -> Number:
    values, inside = flat(map_, mask)
    dot = sum(value * truth for value, truth in zip(values, inside, strict=True))
    lengths = sqrt(sum(value**2 for value in values)) * sqrt(sum(inside))
    return dot / lengths if lengths else None


def roc_auc(map_: Array2D, mask: Array2D) -> Number:
    values, inside = flat(map_, mask)
    high = [value for value, truth in zip(values, inside, strict=True) if truth]
    low = [value for value, truth in zip(values, inside, strict=True) if not truth]
    wins = sum((a > b) + (a == b) / 2 for a in high for b in low)
    return wins / (len(high) * len(low)) if high and low else None


def average_precision(map_: Array2D, mask: Array2D) -> Number:
    """Steps of the precision-recall curve, a threshold at every value from the highest down."""
    values, inside = flat(map_, mask)
    if not any(inside):
        return None
    found, before = 0.0, 0.0
    for level in sorted(set(values), reverse=True):
        marked = [value > nextafter(level, -inf) for value in values]
        hits = sum(a and b for a, b in zip(marked, inside, strict=True))
        found += (hits / sum(inside) - before) * hits / sum(marked)
        before = hits / sum(inside)
    return found


THRESHOLDS = ("fixed", "otsu", "area-matched")


def each(twin: Callable[..., Number]) -> dict[str, Callable[[Array2D, Array2D], Number]]:
    return {name: (lambda map_, mask, name=name: twin(map_, mask, name)) for name in THRESHOLDS}


TWINS: dict[str, dict[str, Callable[[Array2D, Array2D], Number]]] = {
    "locacc": {"": recall},
    "locacc_literature": {"": locacc_literature},
    "recall": each(recall),
    "precision": each(precision),
    "f1": each(f1),
    "iou": each(iou),
    "topk_overlap": {"": topk_overlap},
    "topk_gain": {"": topk_gain},
    "iou_area_matched": {"": iou_area_matched},
    "tko_literature": {"": tko_literature},
    "saliency_score": {"": saliency_score},
    "saliency_gain": {"": gain},
    "shortcut_lift": {"": gain},
    "shortcut_share": {
        "": saliency_score,
        "by-area": lambda map_, mask: mask.sum() / mask.size if mask.any() and map_.any() else None,
    },
    "outside_body_share": {"": outside},
    "border_share": {"": border_share},
    "pointing_game": {"": pointing_game},
    "cosine": {"": cosine},
    "roc_auc": {"": roc_auc},
    "average_precision": {"": average_precision},
}
