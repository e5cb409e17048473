"""Area-matched IoU: the IoU of the evidence and the |M| highest pixels of the map.

    o = |A and M| / |M|,   IoU = o / (2 - o)          A: the K = |M| highest pixels

With |A| = |M|, precision, recall and the Top-K overlap o are one number. No threshold is needed, and a broad map gains
nothing: chance is o = |M| / N.                                                          [pham2025]

Ties are exact: if T pixels share the K-th value, s of them fit into A and h of them are evidence, the overlap receives
s h / T, its expectation over all ways to break the tie. The published code breaks ties by memory order. The IoU is that of
the expected overlap. Cost: one sort of the pixels.
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
    cite="pham2025",
    differs="ties at the last place count in expectation, not by memory order",
)


def score(located: Located) -> Values:
    overlap = hits_among_highest(located) / np.maximum(located.region.area, 1)
    return Values(overlap / (2 - overlap), undefined=located.region.area == 0, reason=EMPTY_MASK)
