"""Top-K overlap: of as many of the highest pixels as there are of evidence, the share that is evidence.

    o = |A and M| / |M|                    A: the K = |M| highest pixels                             [pham2025, arras2022]

Precision and recall at the area-matched threshold; also called relevance rank accuracy. Only the order of the
pixels counts. Chance is |M| / N, and topk_gain takes it off. Where the K-th value is shared by T pixels, s of
which fit into A and h of which are evidence, they count s h / T, the expectation over all ways to break the
tie. The paper's code breaks ties by memory order, takes all pixels for an empty mask (K = 0), and reports o /
(2 - o) under this name: tko_literature. An empty mask is undefined. Cost: one sort, shared.
"""

import numpy as np

from gradfaith.metrics.contract import Metric, Values
from gradfaith.metrics.maps.located import EMPTY_MASK, Located, hits_among_highest

METRIC = Metric(
    family="localization",
    target="true",
    bounds=(0, 1),
    better="higher",
    invariances=("scale", "monotone", "flip"),
    chance="area",
    cite="pham2025",
    differs="o itself, not o / (2 - o); ties at the last place count in expectation; an empty mask is undefined, not 0",
)


def score(located: Located) -> Values:
    return Values(
        hits_among_highest(located) / np.maximum(located.region.area, 1),
        undefined=located.region.area == 0,
        reason=EMPTY_MASK,
    )
