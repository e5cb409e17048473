"""Faithfulness correlation: the correlation of a pixel set's relevance with the effect of its removal.

    Pearson over random sets S:   sum_S u   with   f(x) - f(x without S)                                [bhatt2020]

Sets are drawn per image, the same for all methods, and all of one size: with different sizes, larger sets would have
more effect and more relevance, and any map would correlate. If all sets have equal relevance or equal effect, there is no
correlation: undefined. Cost: `subsets` forwards per image and imputer, for any number of methods.
"""

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from gradfaith.metrics.contract import BatteryMaps, MaskedChange, Metric, Scores, Values
from gradfaith.metrics.maps import removals

METRIC = Metric(
    family="faithfulness",
    target="predicted",
    bounds=(-1, 1),
    better="higher",
    battery="ranking",
    forwards=20,
    invariances=("scale",),
    cite="bhatt2020",
    differs="sets are a share of the image; logits",
    limits=("subsets >= 3", "0 < share < 1"),
)


def changes(maps: BatteryMaps, *, subsets: int = 20, share: float = 0.2) -> Iterator[MaskedChange]:
    for number in range(subsets):
        name = f"random {number} of {share:g}"
        yield MaskedChange(name, partial(_keep_outside_set, maps, name, share), per_image=True)


def _keep_outside_set(maps: BatteryMaps, name: str, share: float) -> Tensor:  # (m, h, w) in {0, 1}
    numbers: Tensor = maps.draw(name)
    count = max(1, round(share * numbers[0].numel()))
    last = removals.kth_smallest(numbers.flatten(1), count)
    return (numbers > last[:, None, None]).to(maps.unit.dtype)


def score(base: Scores, after: Mapping[str, Scores], *, subsets: int = 20, share: float = 0.2) -> Values:
    scores = [after[f"random {number} of {share:g}"] for number in range(subsets)]
    mass, drop = (torch.stack([getattr(one, what) for one in scores]).cpu().double() for what in ("mass", "logit"))
    mass, drop = mass - mass.mean(dim=0), base.logit.cpu().double() - drop
    drop = drop - drop.mean(dim=0)
    size = (mass.square().sum(dim=0) * drop.square().sum(dim=0)).sqrt()
    flat = size <= 1e-12
    reason = "all sets weigh the same, in the map or to the model"
    return Values((mass * drop).sum(dim=0) / torch.where(flat, 1.0, size), undefined=flat, reason=reason)
