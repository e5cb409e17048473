"""Area-matched IoU: how well the |M| highest pixels of the map are the evidence.

    o = |A and M| / |M|,   IoU = o / (2 - o)          A: the K = |M| highest pixels

With |A| = |M| precision, recall and the Top-K overlap o are one number, no threshold has to be chosen, and a broad map wins
nothing: chance is o = |M| / N.                                                          [pham2025]

Ties are exact: where the K-th value is shared by T pixels, s of which fit into A and h of which lie on the evidence, the
overlap gets s h / T, its expectation over all ways to break the tie. The published code breaks them by memory order. The IoU is
that of the expected overlap. Cost: one sort of the pixels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith.metrics.contract import Metric, Values

METRIC = Metric(
    family="localization",
    target="true",
    bounds=(0, 1),
    better="higher",
    invariances=("scale", "monotone", "flip"),
    cite="pham2025",
    differs="ties at the last place count in expectation, not by memory order",
)


def score(maps: NDArray[Any], region: NDArray[np.bool_]) -> Values:
    count, pixels = len(maps), int(np.prod(maps.shape[1:]))
    flat, inside = maps.reshape(count, pixels), region.reshape(count, pixels)
    wanted = inside.sum(axis=1)  # (m,) K
    last = np.take_along_axis(np.sort(flat, axis=1), np.clip(pixels - wanted, 0, pixels - 1)[:, None], axis=1)
    above, level = flat > last, flat == last
    room = wanted - above.sum(axis=1)
    hits = (above & inside).sum(axis=1) + room * (level & inside).sum(axis=1) / level.sum(axis=1)
    overlap = hits / np.maximum(wanted, 1)
    return Values(overlap / (2 - overlap), undefined=wanted == 0, reason="the mask is empty")
