"""Shortcut share: the share of the map's mass on a planted shortcut, with the share of its area for comparison.

    share = sum_B u / sum u                by-area: |B| / N                    B: the region "shortcut"

The variant "by-area" is the chance level, the share of a flat map; shortcut_lift is the ratio of the two. Whether a high
value is good depends on the question: a faithful map of a model that uses the shortcut should show it. Ours. Images without
a shortcut are undefined. Cost: one pass over the pixels.
"""

import numpy as np

from gradfaith.metrics.contract import Metric, Values
from gradfaith.metrics.maps.located import Located
from gradfaith.vocabulary import BY_AREA

METRIC = Metric(
    family="localization",
    target="predicted",
    bounds=(0, 1),
    better="neither",
    region="shortcut",
    invariances=("scale", "flip"),
    chance="area",
)


def score(located: Located) -> dict[str, Values]:
    mass = located.maps.mass
    undefined = (mass <= 0) | (located.region.area == 0)
    reason = "the image has no shortcut, or the map has no mass"
    share = located.inside / np.where(mass > 0, mass, 1)
    return {"": Values(share, undefined, reason), BY_AREA: Values(located.region.share, undefined, reason)}
