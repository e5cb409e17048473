"""ROAD as grad-cam computes it: thresholds at percentiles, and half the difference. For comparison with
others' numbers.

    1/2 mean_q [ p(kept: 1 - u below its q-th percentile) - p(kept: u below its q-th percentile) ]   q in 20, 40, 60, 80

A percentile takes all tied pixels at once: of a map that is nine tenths zero, removing "20 % first" removes
everything, and the number no longer measures an order but what the model says of a blank image. Beside
`road`, which removes exactly so many, it shows for which methods that matters. Cost: 8 forwards per map and
imputer.
"""

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from gradfaith.metrics.contract import BatteryMaps, MaskedChange, Metric, Scores, Values

METRIC = Metric(
    family="faithfulness",
    target="predicted",
    bounds=(-0.5, 0.5),
    better="higher",
    battery="ranking",
    forwards=8,
    invariances=("scale",),
    cite="rong2022",
    differs="the literature's variant in grad-cam: percentile thresholds remove all tied pixels at once, and half the difference",
    limits=("0 < percentiles < 100",),
)


def changes(maps: BatteryMaps, *, percentiles: tuple[float, ...] = (20.0, 40.0, 60.0, 80.0)) -> Iterator[MaskedChange]:
    for q in percentiles:
        yield MaskedChange(f"most, percentile {q:g}", partial(_below, maps.unit, q))
        yield MaskedChange(f"least, percentile {q:g}", partial(_below, 1 - maps.unit, q))


def score(
    _base: Scores, after: Mapping[str, Scores], *, percentiles: tuple[float, ...] = (20.0, 40.0, 60.0, 80.0)
) -> Values:
    gaps = [
        after[f"least, percentile {q:g}"].probability - after[f"most, percentile {q:g}"].probability
        for q in percentiles
    ]
    return Values(torch.stack(gaps).mean(dim=0) / 2)


def _below(unit: Tensor, percentile: float) -> Tensor:  # (m, h, w) -> (m, h, w) in {0, 1}
    level = unit.flatten(1).quantile(percentile / 100, dim=1)
    return (unit < level[:, None, None]).to(unit.dtype)
