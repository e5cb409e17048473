"""LocAcc: the share of the evidence that the map covers. A recall.

    LocAcc = |{u >= t} and M| / |M|          soft: sum_M u / |M|                                     [panboonyuen2026]

The paper intersects a soft map with a mask without defining it; its code binarises the evaluated map at t = 0.5, and so do
we. `soft` is the literal reading of the formula. An empty mask has no recall: the paper's code returns 0, so every normal
slice lowers the mean; we return undefined. Like every recall, it is best for a broad map, and 1 for the uniform control:
read it beside saliency_score and iou_area_matched. Cost: one sort, shared.
"""

import numpy as np

from gradfaith.metrics.contract import Metric, Values
from gradfaith.metrics.maps.located import EMPTY_MASK, Located

METRIC = Metric(
    family="localization",
    target="true",
    bounds=(0, 1),
    better="higher",
    invariances=("scale", "flip"),
    fooled_by=("uniform",),
    controls=("uniform", "centre"),
    cite="panboonyuen2026",
    differs="an empty mask is undefined, not 0",
    limits=("0 < threshold <= 1",),
)


def score(located: Located, *, threshold: float = 0.5, soft: bool = False) -> Values:
    area = located.region.area
    level = np.full(len(area), threshold, dtype=located.maps.flat.dtype)
    covered = located.inside if soft else located.count_reaching(level)[1]
    return Values(covered / np.maximum(area, 1), undefined=area == 0, reason=EMPTY_MASK)
