"""Border share: the share of the map's mass along the image's border.

    share = sum_B u / sum u                B: the outer `width` of the side, at least one pixel

A network that pads its layers can use the border, and the border of a scan contains burnt-in text and the couch, never the
lesion. A flat map has the area of the border, 1 - (1 - 2 width)^2 of a square: 0.19 at the default. Whether a high value
is bad depends on the question: a faithful map of a model that uses the border should show it. Evidence is not needed.
Ours. A map without mass is undefined. Cost: one pass over the pixels.
"""

import numpy as np

from gradfaith.metrics.contract import Metric, Values
from gradfaith.metrics.maps.located import Located

METRIC = Metric(
    family="localization",
    target="predicted",
    bounds=(0, 1),
    better="neither",
    region="",
    invariances=("scale", "flip"),
    controls=("uniform",),
    limits=("0 < width <= 0.5",),
)


def score(located: Located, *, width: float = 0.05) -> Values:
    height, breadth = located.maps.unit.shape[1:]
    down, across = (max(1, round(width * side)) for side in (height, breadth))
    inner = located.maps.unit[:, down : max(down, height - down), across : max(across, breadth - across)]
    mass = located.maps.mass
    share = 1 - inner.sum(axis=(1, 2), dtype=np.float64) / np.where(mass > 0, mass, 1)
    return Values(share, undefined=mass <= 0, reason="the map has no mass")
