"""Area-matched IoU: how well the |M| highest pixels of the map are the evidence.

    o = |A and M| / |M|,   IoU = o / (2 - o)          A: the K = |M| highest pixels

With |A| = |M| precision, recall and the Top-K overlap o are one number, no threshold has to be chosen, and a broad map wins
nothing: chance is o = |M| / N.                                                          [pham2025]

Ties are exact: where the K-th value is shared by T pixels, s of which fit into A and h of which lie on the
evidence, the overlap gets s h / T, its expectation over all ways to break the tie. The published code breaks
them by memory order. The IoU is that of the expected overlap. Cost: one sort of the pixels.
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
