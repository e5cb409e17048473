"""Top-K overlap: the share of evidence among the |M| highest pixels, for evidence of |M| pixels.

    o = |A and M| / |M|                    A: the K = |M| highest pixels                             [pham2025, arras2022]

It equals precision and recall at the area-matched threshold, and is also called relevance rank accuracy. Only the order of
the pixels counts. Chance is |M| / N, which topk_gain corrects for. If T pixels share the K-th value, s of them fit into A and
h of them are evidence, they count s h / T, the expectation over all ways to break the tie. The paper's code breaks ties by
memory order, selects all pixels for an empty mask (K = 0), and reports o / (2 - o) under this name: tko_literature. An empty
mask is undefined. Cost: one sort, shared.
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
