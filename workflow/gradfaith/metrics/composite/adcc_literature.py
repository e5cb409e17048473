"""ADCC as in its authors' code, without a value if a part is at its worst; for comparison with published numbers.

    3 / ( 1/Coh + 1/(1 - Com) + 1/(1 - AD) )                                                              [poppi2021]

The code has no guard: it divides by zero for a map that loses all of the class, for example. Leaving such maps out
would average over the better ones. Here they are undefined and counted. All other values equal `adcc`. The paper does
not state in what order it averages; the code returns a number per image. Cost: none.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradfaith.metrics.contract import Metric, Values, harmonic_mean

METRIC = Metric(
    family="composite",
    target="predicted",
    bounds=(0, 1),
    better="higher",
    parts={"coherency": "", "complexity": "", "average_drop": ""},
    fooled_by=("half", "random"),
    cite="poppi2021",
    differs="the literature's variant: undefined where a part is at its worst",
)


def score(parts: Mapping[str, Any]) -> Values:
    terms = np.stack([parts["coherency"], 1 - parts["complexity"], 1 - parts["average_drop"]])
    return Values(
        harmonic_mean(*terms), undefined=(terms <= 0).any(axis=0), reason="a part is at its worst: division by 0"
    )
