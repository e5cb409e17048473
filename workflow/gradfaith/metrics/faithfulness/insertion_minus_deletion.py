"""Insertion minus deletion: the value of the map's order, from both ends.

    IMD = AUC(least relevant removed first) - AUC(most relevant removed first)

It is 0 for a random order, whatever the model's output for an empty image: that part is in both areas and cancels. Higher
is better. Cost: none beside deletion and insertion.
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
    forwards=39,
    invariances=("scale", "monotone"),
    cite="petsiuk2018",
    differs="the difference of the two published areas",
    limits=("steps >= 1",),
)


def changes(_maps: BatteryMaps, *, steps: int = 20) -> Iterator[RankedRemoval]:
    yield from (RankedRemoval("most", step / steps) for step in range(steps + 1))
    yield from (RankedRemoval("least", step / steps) for step in range(steps + 1))


def score(_base: Scores, after: Mapping[str, Scores], *, steps: int = 20) -> Values:
    gaps = torch.stack(
        [
            after[RankedRemoval("least", step / steps).name].probability
            - after[RankedRemoval("most", step / steps).name].probability
            for step in range(steps + 1)
        ]
    )
    return Values(torch.trapezoid(gaps, dx=1 / steps, dim=0))
