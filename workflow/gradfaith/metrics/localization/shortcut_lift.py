"""Shortcut lift: the share of the map's mass on a planted shortcut, divided by the share of its area.

    lift = (sum_B u / sum u) / (|B| / N)             B: the region "shortcut"

1 is chance (a flat map), 0 is no mass on the shortcut, N / |B| is all mass. Ours; the numerator is the saliency score.
Whether a high value is good depends on the question: a faithful map of a model that uses the shortcut should show it.
Images without a shortcut are undefined. Cost: one pass over the pixels.
"""

import numpy as np

from gradfaith.metrics.contract import Metric, Values
from gradfaith.metrics.maps.located import Located

METRIC = Metric(
    family="localization",
    target="predicted",
    bounds=(0, None),
    better="neither",
    region="shortcut",
    invariances=("scale", "flip"),
    chance="1",
)


def score(located: Located) -> Values:
    expected = located.maps.mass * located.region.share
    undefined = expected <= 0
    reason = "the image has no shortcut, or the map has no mass"
    return Values(located.inside / np.where(undefined, 1, expected), undefined=undefined, reason=reason)
