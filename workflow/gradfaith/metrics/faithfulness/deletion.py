"""Deletion: how fast the class probability falls when the most relevant pixels are removed first.

    area under p(share removed), shares 0, 1/steps, ..., 1, trapezoids                          [petsiuk2018]

Lower is better. Pixels are ranked, so an increasing function of the map changes nothing. The original removes one pixel
at a time and fills with zeros of the normalised image; here shares are removed in steps, and the imputer fills. The level
depends on the model's output for an empty image, so compare maps of one model only.

On the embedded study's networks, 20 steps differ from 224 by 0.009 on average and by at most 0.03, 50 steps by 0.003 and
0.01 (docs/metrics-judged.md). Cost: `steps` forwards per map and imputer, shared with insertion, ROAD and all requests
for the same pixels, by the same map or another.
"""

from collections.abc import Iterator, Mapping

import torch

from gradfaith.metrics.contract import BatteryMaps, Metric, RankedRemoval, Scores, Values

METRIC = Metric(
    family="faithfulness",
    target="predicted",
    bounds=(0, 1),
    better="lower",
    battery="ranking",
    forwards=20,
    invariances=("scale", "monotone"),
    cite="petsiuk2018",
    differs="in steps of the image, by exact rank with seeded ties; any imputer",
    limits=("steps >= 1",),
)


def changes(_maps: BatteryMaps, *, steps: int = 20) -> Iterator[RankedRemoval]:
    yield from (RankedRemoval("most", step / steps) for step in range(steps + 1))


def score(_base: Scores, after: Mapping[str, Scores], *, steps: int = 20) -> Values:
    curve = torch.stack([after[RankedRemoval("most", step / steps).name].probability for step in range(steps + 1)])
    return Values(torch.trapezoid(curve, dx=1 / steps, dim=0))
