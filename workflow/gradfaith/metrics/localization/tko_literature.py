"""TKO as in the paper's code: the IoU of the mask and the |M| highest pixels, with ties by memory order.

    TKO = |A and M| / |A or M| = o / (2 - o)           A: the last |M| places of argpartition              [pham2025]

The paper defines it as the share of the highest pixels inside the mask, which is o: its value of 19.1 % is an IoU, and its
highest pixels are 32.1 % evidence. An empty mask selects all pixels (the last 0 places of an array are the complete array),
so it scores 0. For a map with many equal pixels, such as zeros after a ReLU, the value depends on the order of numpy's
selection. For comparison with published numbers; topk_overlap and iou_area_matched are the corrected metrics. Cost: one
selection per map.
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
