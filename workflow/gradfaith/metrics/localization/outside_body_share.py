"""Outside-body share: the share of the map's mass outside the patient.

    share = 1 - sum_B u / sum u            B: the region "body", with the lungs and without the couch

The outside contains air, the couch and burnt-in text. Mass on it suggests a shortcut, or a map that is too coarse for the
question. A flat map has the share of the image that is not body. Whether a high value is bad depends on the question: a
faithful map of a model that uses the couch should show it. Ours. It needs a dataset with body masks; images without one
are undefined, and so is a map without mass. Cost: one pass over the pixels.
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
