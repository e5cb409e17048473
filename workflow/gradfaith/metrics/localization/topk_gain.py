"""Top-K gain: the Top-K overlap, rescaled so that chance is 0 and perfect is 1.

    gain = (o - c) / (1 - c)               o: topk_overlap, c = |M| / N: its value for random pixels

Values below 0 are worse than chance. Large and small lesions become comparable, unlike for o. Ours, after Cohen's kappa
[cohen1960]. It is undefined if the mask is empty or covers the image. Cost: one sort, shared.
"""

import numpy as np

from gradfaith.metrics.contract import Metric, Values
from gradfaith.metrics.maps.located import Located, hits_among_highest

METRIC = Metric(
    family="localization",
    target="true",
    bounds=(None, 1),
    better="higher",
    invariances=("scale", "monotone", "flip"),
    chance="0",
    cite="cohen1960",
)


def score(located: Located) -> Values:
    area, chance = located.region.area, located.region.share
    undefined = (area == 0) | (area == located.pixels)
    overlap = hits_among_highest(located) / np.maximum(area, 1)
    gain = (overlap - chance) / np.where(undefined, 1, 1 - chance)
    return Values(gain, undefined=undefined, reason="the mask is empty, or covers the image")
