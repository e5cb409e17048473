"""Pointing game: whether the map's highest pixel is on the evidence.

    PG = 1 if the highest pixel is at most `tolerance` pixels from M, else 0                         [zhang2018]

Averaged over images it is a hit rate. Pixels that share the highest value count in expectation: PG is the share of them
that hit; other code takes the first in memory, or counts a hit if any of them hits. The original's tolerance is 15 pixels
of its larger images; our default is 0, because 15 pixels are several times a nodule. Chance is |M| / N at tolerance 0. It
accepts points as evidence, with a tolerance. An empty mask is undefined. Cost: one sort, shared; a tolerance costs 4 ms per
image, once for all methods.
"""

import numpy as np

from gradfaith.metrics.contract import Metric, Values
from gradfaith.metrics.maps.located import EMPTY_MASK, Located

METRIC = Metric(
    family="localization",
    target="true",
    bounds=(0, 1),
    better="higher",
    evidence=("mask", "box", "point", "parts"),
    invariances=("scale", "monotone", "flip"),
    chance="area",
    controls=("centre",),
    cite="zhang2018",
    differs="ties at the maximum count in expectation; no tolerance unless asked for",
    limits=("tolerance >= 0",),
)


def score(located: Located, *, tolerance: int = 0) -> Values:
    peaks, hits = located.dilate(tolerance).count_reaching(located.maps.rising[:, -1])
    return Values(hits / np.maximum(peaks, 1), undefined=located.region.area == 0, reason=EMPTY_MASK)
