"""ADCC: is a map coherent, sparse, and enough to keep the class?

    ADCC = 3 / ( 1/Coh + 1/(1 - Com) + 1/(1 - AD) )                                                       [poppi2021]

Per map, of its Coherency, Complexity and Average Drop with one imputer. The harmonic mean is 0 where a part
is at its worst: that is its limit, which the authors' code divides by zero to reach. A map that is half of
the image, whatever is in it, keeps the class and is half sparse; controls ignore the model, so they are fully
coherent: both score well, which ARCC corrects. The ADCC of averages is another number: compare with published
numbers only if they are per image, too. Cost: none.
"""

from collections.abc import Mapping
from typing import Any

from gradfaith.metrics.contract import Metric, Values, harmonic_mean

METRIC = Metric(
    family="composite",
    target="predicted",
    bounds=(0, 1),
    better="higher",
    parts={"coherency": "", "complexity": "", "average_drop": ""},
    fooled_by=("half", "random"),
    cite="poppi2021",
    differs="0 where a part is at its worst; undefined where the masked image has a constant map",
)


def score(parts: Mapping[str, Any]) -> Values:
    return Values(harmonic_mean(parts["coherency"], 1 - parts["complexity"], 1 - parts["average_drop"]))
