"""Top-K gain: how far the Top-K overlap gets from chance to perfect.

    gain = (o - c) / (1 - c)               o: topk_overlap, c = |M| / N: its value for random pixels

0 is chance, 1 is perfect, below 0 is worse than chance; large and small lesions become comparable, which o is
not. Ours, after Cohen's kappa [cohen1960]. Undefined where the mask is empty or covers the image. Cost: one
sort, shared.
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
