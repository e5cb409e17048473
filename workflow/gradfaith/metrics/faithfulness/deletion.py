"""Deletion: how fast the class is lost when the most relevant pixels are taken away first.

    area under p(share removed), shares 0, 1/steps, ..., 1, trapezoids                          [petsiuk2018]

Lower is better. By rank: any increasing change of the map leaves it as it is. The original removes a pixel at
a time and fills with zeros of the normalised image; here the share goes in steps and the filling is the
imputer's. Its level depends on what the model says of a wiped image, so compare maps of one model.

On the embedded study's networks 20 steps are 0.009 from 224 in the mean and 0.03 at most, 50 steps 0.003 and 0.01
(docs/metrics-judged.md). Cost: `steps` forwards per map and imputer, shared with insertion, ROAD and whatever
asks for the same pixels, of the same map or of another.
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
