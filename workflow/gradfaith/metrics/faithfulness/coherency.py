"""Coherency: the similarity of a map and the method's map of the image multiplied by it.

    Coh = (1 + rho) / 2,  rho = Pearson( u, v )        u: the map in [0, 1]
                                                       v: the map of x * u, by the complete method again     [poppi2021]

The complete method means every layer, option and score that made u: the code of [domeniconi2026] keeps RefineCAM's
deeper maps from the unmasked image and multiplies them in again, which raises its score. Random numbers are drawn again,
too. If the map of the masked image is constant, there is no correlation: undefined. Published code returns 0.5 or stops.
Two unrelated maps have a value of 0.5, so in practice values range from 0.5 to 1. Controls ignore the model, so their
coherency is 1. Cost: one rerun per map and imputer.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from gradfaith.metrics.contract import BatteryMaps, MethodRerun, Metric, Values
from gradfaith.metrics.maps.evaluate import RerunMaps

METRIC = Metric(
    family="faithfulness",
    target="predicted",
    bounds=(0, 1),
    better="higher",
    battery="rerun",
    forwards=1,
    invariances=("scale",),
    fooled_by=("random", "random-grid", "centre", "uniform", "half", "lungs"),
    cite="poppi2021",
    differs="the method is run again; a constant map of the masked image is undefined",
)


def changes(maps: BatteryMaps) -> Iterator[MethodRerun]:
    yield MethodRerun("kept", keep=lambda: maps.unit)


def score(base: RerunMaps, after: Mapping[str, RerunMaps]) -> Values:
    again = after["kept"]
    covariance, variance, variance2 = moments(base.unit, again.unit)
    rho = covariance / torch.where(again.constant, 1.0, (variance * variance2).sqrt())
    return Values(
        ((1 + rho) / 2).clamp(0, 1), undefined=again.constant, reason="the map of the image it masks is constant"
    )


class Moments(NamedTuple):
    """Second moments of pairs of maps; each (m,)."""

    covariance: Tensor
    variance: Tensor
    variance2: Tensor


def moments(first: Tensor, second: Tensor) -> Moments:  # (m, h, w) twice
    """Return the covariance and both variances over the pixels, in double precision."""
    one, two = (maps.flatten(1).double() for maps in (first, second))
    one, two = one - one.mean(dim=1, keepdim=True), two - two.mean(dim=1, keepdim=True)
    return Moments((one * two).mean(dim=1), one.square().mean(dim=1), two.square().mean(dim=1))
