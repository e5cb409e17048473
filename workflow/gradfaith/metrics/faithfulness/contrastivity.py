"""Contrastivity: does the map of a class show what matters for that class, more than the map of another class
does?

    R_a = the region whose removal costs class a most                                                   [hesse2023]
    value = 1/2 [share of a's map in R_a  >  share of b's map in R_a]  +  1/2 [the same with a and b changed]

a is the predicted class and b the true one, so it is defined only for images that the model gets wrong: of
the others one class alone was explained. Equal shares count half, so a method that shows every class the same
map gets 1/2, and so does chance. Both maps are of the same model, method and image, each for its own class;
regions are those of region_correctness. The code beside one of our papers hands the same map to both sides of
its comparison, which is then never strict, and its contrastivity is 0 for every method.

It can say that maps follow the class where the model does. It says nothing where one region matters most to
both classes, or where no region's removal costs one of them anything: undefined. Few images are left, chosen
by the model's own mistakes: read it with its count. Cost: the forwards of region_correctness, shared where
both are asked.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from gradfaith.metrics.contract import BatteryMaps, MaskedChange, Metric, Scores, Values
from gradfaith.metrics.maps import removals

METRIC = Metric(
    family="faithfulness",
    target="predicted",
    bounds=(0, 1),
    better="higher",
    battery="ranking",
    regional=True,
    rival=True,
    forwards=6,
    invariances=("scale",),
    cite="hesse2023",
    differs="predicted against true class, and regions that are found by removal; ties count half",
    limits=("0 <= decoys < 128",),
)
ONE_MAP = "one class alone has a map of this image: the model is right, or the other map is constant or broken"
NONE, SAME = "no region's removal costs one of the two classes anything", "one region matters most to both classes"


def changes(maps: BatteryMaps, *, decoys: int = 5) -> Iterator[MaskedChange]:
    yield from removals.region_changes(maps, decoys)


def score(base: Scores, after: Mapping[str, Scores], *, decoys: int = 5) -> Values:  # noqa: ARG001 - both take all options
    if base.rival is None:
        alone = torch.ones_like(base.logit, dtype=torch.bool)
        return Values(torch.zeros_like(base.logit), undefined=alone, reason=ONE_MAP)
    own = removals.region_effects(base, after)
    rival = removals.region_effects(base.rival, {name: _rival(scores) for name, scores in after.items()})
    (region, costs), (region2, costs2) = _most_important(own), _most_important(rival)
    first = _compare_shares(_at(own.share, region), _at(rival.share, region))
    second = _compare_shares(_at(rival.share, region2), _at(own.share, region2))
    alone, none, same = ~base.rival.mass.isfinite(), ~(costs & costs2), region == region2
    reason = removals.first_reason([(alone, ONE_MAP), (none, NONE), (same, SAME)])
    return Values((first + second) / 2, undefined=alone | none | same, reason=reason)


def _rival(scores: Scores) -> Scores:
    assert scores.rival is not None  # the runner gives it to all scores or to none
    return scores.rival


def _most_important(effects: removals.RegionEffects) -> tuple[Tensor, Tensor]:  # (m,), (m,)
    """Return the region whose removal costs the class most, and whether it costs anything."""
    most = effects.drop.masked_fill(~effects.present, -torch.inf).max(dim=0)
    return most.indices, most.values > 0


def _at(values: Tensor, row: Tensor) -> Tensor:  # (k, m), (m,) -> (m,)
    """Return each column's value at its row."""
    return values.gather(0, row[None])[0]


def _compare_shares(one: Tensor, other: Tensor) -> Tensor:  # (m,)
    """Return 1 where the first is larger, 1/2 where the two are equal, else 0."""
    away = one - other
    close = away.abs() <= removals.TIE_TOLERANCE * torch.maximum(one.abs(), other.abs())
    return torch.where(close, 0.5, (away > 0).double())
