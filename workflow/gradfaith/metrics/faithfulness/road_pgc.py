"""ROAD as in the package grad-cam: percentile thresholds and half the difference; for comparison with published numbers.

    1/2 mean_q [ p(kept: 1 - u below its q-th percentile) - p(kept: u below its q-th percentile) ]   q in 20, 40, 60, 80

A percentile threshold removes all tied pixels at once. If nine tenths of a map are zero, removing "the first 20 %" removes
everything, and the value is the model's output for an empty image instead of the effect of an order. Compare it with
`road`, which removes exact counts, to see for which methods this matters. Cost: 8 forwards per map and imputer.
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
