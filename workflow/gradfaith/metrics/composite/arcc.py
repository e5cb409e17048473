"""ARCC: the harmonic mean of coherency, sparsity and ROAD.

    ARCC = 3 / ( 1/Coh + 1/(1 - Com) + 1/R ),  R = max(0, ROAD)                                      [domeniconi2026]

This is ADCC with ROAD instead of Average Drop, so a sparse map must also rank pixels correctly. ROAD is the mean over
20, 40, 60 and 80 % of p(least relevant removed) - p(most relevant removed), with exact counts and seeded ties. It
always uses noisy linear imputation, whatever imputer Coherency uses. If the order is no better than chance, R <= 0, the
value is 0, the limit of the mean. Many maps of a weak method share that 0, so read medians and ranks beside means. The
value is per map; ARCC of averages over images would be another number, and the paper does not state which one its
tables show (they are not made by any public code). Cost: none.
"""

from collections.abc import Mapping
from typing import Any

from gradfaith.metrics.contract import Metric, Values, harmonic_mean

METRIC = Metric(
    family="composite",
    target="predicted",
    bounds=(0, 1),
    better="higher",
    parts={"coherency": "", "complexity": "", "road": "noisy_linear"},
    cite="domeniconi2026",
    differs="exact counts in ROAD; undefined where the masked image has a constant map",
)


def score(parts: Mapping[str, Any]) -> Values:
    return Values(harmonic_mean(parts["coherency"], 1 - parts["complexity"], parts["road"].clip(0, 1)))
