"""ARCC: is a map coherent, sparse, and in an order that the model confirms?

    ARCC = 3 / ( 1/Coh + 1/(1 - Com) + 1/R ),  R = max(0, ROAD)                                      [domeniconi2026]

ADCC with ROAD in the place of Average Drop, so that a map must point before it can be sparse. ROAD is the
mean over 20, 40, 60 and 80 % of p(least relevant removed) - p(most relevant removed), in exact counts with
seeded ties, always filled by noisy linear imputation, whatever fills the image that Coherency masks. An order
no better than chance, R <= 0, gives 0, the limit of the mean: many maps of a weak method share that 0, so
read medians and ranks beside means. Per map; of averages over images it would be another number, and the
paper, whose tables no public code makes, does not say which it prints. Cost: none.
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
