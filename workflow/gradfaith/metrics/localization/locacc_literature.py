"""LocAcc as in the paper's code, where an empty mask scores 0; for comparison with published numbers.

    LocAcc = |{u >= 0.5} and M| / (|M| + 1e-8)                                                       [panboonyuen2026]

Every image without evidence counts as a miss, so the average falls with the share of normal images, whatever the maps.
locacc is the corrected metric. Cost: two binary searches per map.
"""

import numpy as np

from gradfaith.metrics.contract import Metric, Values
from gradfaith.metrics.maps.located import Located

METRIC = Metric(
    family="localization",
    target="true",
    bounds=(0, 1),
    better="higher",
    invariances=("scale", "flip"),
    fooled_by=("uniform",),
    controls=("uniform", "centre"),
    cite="panboonyuen2026",
    differs="nothing: an empty mask is 0, not undefined",
)


def score(located: Located) -> Values:
    half = np.full(len(located.region.area), 0.5, dtype=located.maps.flat.dtype)
    return Values(located.count_reaching(half)[1] / (located.region.area + 1e-8))
