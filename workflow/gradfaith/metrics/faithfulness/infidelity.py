"""Infidelity: the error of predicting the effect of removed pixels from the map, at the map's best scale.

    INFD = min_b mean_S ( b sum_S u - (f(x) - f(x without S)) )^2 / mean_S ( f(x) - f(x without S) )^2         [yeh2019]

In the original, the scale of the map is part of the method. A map in [0, 1] has none, so the best scale is used, and the
error is divided by that of an uninformative map (b = 0): 0 is perfect prediction, 1 is no information. Sets are those of
faithfulness_correlation, all of one size, so a constant map predicts only the mean drop. If no set has an effect on the
model, there is no infidelity: undefined. Cost: the forwards of faithfulness_correlation.
"""

from collections.abc import Iterator, Mapping

import torch

from gradfaith.metrics.contract import BatteryMaps, MaskedChange, Metric, Scores, Values
from gradfaith.metrics.faithfulness import faithfulness_correlation

METRIC = Metric(
    family="faithfulness",
    target="predicted",
    bounds=(0, 1),
    better="lower",
    battery="ranking",
    forwards=20,
    invariances=("scale",),
    fooled_by=("uniform",),
    cite="yeh2019",
    differs="at the best scale of the map, over that of no map; sets of pixels are taken away instead of noise added",
    limits=("subsets >= 2", "0 < share < 1"),
)


def changes(maps: BatteryMaps, *, subsets: int = 20, share: float = 0.2) -> Iterator[MaskedChange]:
    yield from faithfulness_correlation.changes(maps, subsets=subsets, share=share)


def score(base: Scores, after: Mapping[str, Scores], *, subsets: int = 20, share: float = 0.2) -> Values:
    scores = [after[f"random {number} of {share:g}"] for number in range(subsets)]
    mass, left = (torch.stack([getattr(one, what) for one in scores]).cpu().double() for what in ("mass", "logit"))
    drop = base.logit.cpu().double() - left
    drop_power, mass_power = drop.square().sum(dim=0), mass.square().sum(dim=0)
    none = (drop_power <= 1e-12) | (mass_power <= 1e-12)
    explained = (mass * drop).sum(dim=0).square() / torch.where(none, 1.0, mass_power * drop_power)
    return Values(
        (1 - explained).clamp(min=0), undefined=none, reason="no set of pixels matters, to the model or in the map"
    )
