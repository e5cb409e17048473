"""ROAD: the difference of class probability between removing the least and the most relevant pixels.

    ROAD = mean_q [ p(least relevant q removed) - p(most relevant q removed) ]      q in 20, 40, 60, 80 %        [rong2022]

It is made for the imputer noisy_linear, which does not show the shape of the mask to the model; any imputer can be used.
Both orders are one total order with exactly round(q N) pixels and seeded ties. So a random order has a mean of 0, for
sparse maps too. grad-cam halves the value and uses percentile thresholds: `road_pgc`. The original reports the accuracy
over a dataset along q: the curves are stored (curves.parquet). Cost: 8 forwards per map and imputer, shared with deletion
and insertion.
"""

from collections.abc import Iterator, Mapping

import torch

from gradfaith.metrics.contract import BatteryMaps, Metric, RankedRemoval, Scores, Values

METRIC = Metric(
    family="faithfulness",
    target="predicted",
    bounds=(-1, 1),
    better="higher",
    battery="ranking",
    forwards=8,
    invariances=("scale", "monotone"),
    cite="rong2022",
    differs="probability of the class per image instead of accuracy; both orders; exact counts with seeded ties",
    limits=("0 < shares < 1",),
)


def changes(_maps: BatteryMaps, *, shares: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)) -> Iterator[RankedRemoval]:
    for share in shares:
        yield RankedRemoval("most", share)
        yield RankedRemoval("least", share)


def score(_base: Scores, after: Mapping[str, Scores], *, shares: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)) -> Values:
    gaps = [
        after[RankedRemoval("least", q).name].probability - after[RankedRemoval("most", q).name].probability
        for q in shares
    ]
    return Values(torch.stack(gaps).mean(dim=0))
