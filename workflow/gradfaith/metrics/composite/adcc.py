"""ADCC: the harmonic mean of coherency, sparsity and kept class probability.

    ADCC = 3 / ( 1/Coh + 1/(1 - Com) + 1/(1 - AD) )                                                       [poppi2021]

It is computed per map, from its Coherency, Complexity and Average Drop with one imputer. The harmonic mean is 0 if a
part has its worst value; this is the limit, for which the authors' code divides by zero. A map that covers half of the
image keeps the class and is half sparse, whatever it shows. Controls ignore the model, so their coherency is 1. Both
score well, which ARCC corrects. The ADCC of averages is another number: compare with published values only if these
are per image, too. Cost: none.
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
