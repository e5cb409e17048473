"""TKO as the paper's code has it: the IoU of the mask and as many of the highest pixels, ties by memory
order.

    TKO = |A and M| / |A or M| = o / (2 - o)           A: the last |M| places of argpartition              [pham2025]

The paper calls it the share of the highest pixels inside the mask, which is o: its 19.1 % of the highest
pixels are 32.1 %. An empty mask takes all pixels (the last 0 places of an array are the whole array), so
scores 0. A map with many equal pixels, of ReLU zeros say, gets what numpy's selection happens to put first.
To compare with others' numbers; topk_overlap and iou_area_matched are the corrected ones. Cost: one selection
per map.
"""

import numpy as np

from gradfaith.metrics.contract import Metric, Values
from gradfaith.metrics.maps.located import Located

METRIC = Metric(
    family="localization",
    target="true",
    bounds=(0, 1),
    better="higher",
    invariances=("scale", "monotone"),
    cite="pham2025",
    differs="nothing: ties by memory order, an empty mask is 0",
)


def score(located: Located) -> Values:
    found = np.zeros(len(located.region.area))
    for row, (values, mask, wanted) in enumerate(
        zip(located.maps.flat, located.region.mask, located.region.area, strict=True)
    ):
        top = np.argpartition(values, -wanted)[-wanted:] if wanted else np.arange(len(values))
        hits = np.count_nonzero(mask.ravel()[top])
        found[row] = hits / (len(top) + wanted - hits)
    return Values(found)
