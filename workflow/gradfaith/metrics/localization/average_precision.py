"""Average precision: the mean precision at each pixel of the evidence, from the highest down.

    AP = 1/|M| sum over p in M of |{q in M: u_q >= u_p}| / |{q: u_q >= u_p}|                         [davis2006]

The area under the precision-recall steps without interpolation, as in scikit-learn; tied pixels enter together, so the
order in memory does not count. Chance is a little above |M| / N, by about ln N / N. Unlike for ROC AUC, the many easy
pairs of a small lesion do not hide false positives above it. An empty mask is undefined. Cost: one sort, shared.
"""

import numpy as np

from gradfaith.metrics.contract import Metric, Values
from gradfaith.metrics.maps.located import EMPTY_MASK, Located

METRIC = Metric(
    family="localization",
    target="true",
    bounds=(0, 1),
    better="higher",
    invariances=("scale", "monotone", "flip"),
    cite="davis2006",
)


def score(located: Located) -> Values:
    found = np.zeros(len(located.region.area))
    for row, (own, (low, _)) in enumerate(zip(located.rising, located.below, strict=True)):
        if len(own):
            reached = len(own) - np.searchsorted(own, own, "left")
            found[row] = (reached / (located.pixels - low)).mean()
    return Values(found, undefined=located.region.area == 0, reason=EMPTY_MASK)
