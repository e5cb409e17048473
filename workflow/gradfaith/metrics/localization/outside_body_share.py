"""Outside-body share: how much of the map's mass lies beside the patient.

    share = 1 - sum_B u / sum u            B: the region "body", lungs included, the couch not

What lies there is air, couch and burnt-in text: mass on it speaks for a shortcut, or for a map too coarse for
the question. A flat map gets the share of the image that is not body. Whether high is bad depends on the
question: a faithful map of a model that reads the couch should be on it. Ours. Only datasets that know the
body have it; images without are undefined, and so is a map without mass. Cost: one pass over the pixels.
"""

import numpy as np

from gradfaith.metrics.contract import Metric, Values
from gradfaith.metrics.maps.located import Located

METRIC = Metric(
    family="localization",
    target="predicted",
    bounds=(0, 1),
    better="neither",
    region="body",
    invariances=("scale", "flip"),
    controls=("uniform",),
)


def score(located: Located) -> Values:
    mass = located.maps.mass
    undefined = (mass <= 0) | (located.region.area == 0)
    reason = "the image has no mask of the body, or the map has no mass"
    return Values(1 - located.inside / np.where(mass > 0, mass, 1), undefined=undefined, reason=reason)
