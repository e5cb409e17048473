"""Insertion: how fast the class probability rises when the most relevant pixels are inserted first.

    area under p(share shown), shares 0, 1/steps, ..., 1, trapezoids                            [petsiuk2018]

Higher is better. Inserting the most relevant tenth equals removing the least relevant nine tenths, so insertion is the
deletion of the opposite map, in reverse. The original starts from a blurred image (imputer blur). 20 steps differ from
224 by 0.005 on average and by at most 0.014, measured as in deletion. Cost: `steps` forwards per map and imputer, shared
as in deletion.
"""

from collections.abc import Iterator, Mapping

import torch

from gradfaith.metrics.contract import BatteryMaps, Metric, RankedRemoval, Scores, Values

METRIC = Metric(
    family="faithfulness",
    target="predicted",
    bounds=(0, 1),
    better="higher",
    battery="ranking",
    forwards=20,
    invariances=("scale", "monotone"),
    cite="petsiuk2018",
    differs="in steps of the image, by exact rank with seeded ties; any imputer",
    limits=("steps >= 1",),
)


def changes(_maps: BatteryMaps, *, steps: int = 20) -> Iterator[RankedRemoval]:
    yield from (RankedRemoval("least", step / steps) for step in range(steps + 1))


def score(_base: Scores, after: Mapping[str, Scores], *, steps: int = 20) -> Values:
    curve = torch.stack([after[RankedRemoval("least", step / steps).name].probability for step in range(steps + 1)])
    return Values(torch.trapezoid(curve, dx=1 / steps, dim=0))
