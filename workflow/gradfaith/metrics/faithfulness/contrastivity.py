"""Contrastivity: whether the map of a class shows that class's important region more than another class's map does.

    R_a = the region whose removal lowers the score of class a most                                                   [hesse2023]
    value = 1/2 [share of a's map in R_a  >  share of b's map in R_a]  +  1/2 [the same with a and b exchanged]

a is the predicted class and b the true one, so the metric is defined only for misclassified images; the others have a
map of one class only. Equal shares count half, so a method with the same map for every class scores 1/2, as does chance.
Both maps are of the same model, method and image, each for its own class. Regions are those of region_correctness. The
code beside one of our papers compares a map with itself; this comparison is never strict, so its contrastivity is 0 for
every method.

The metric can show that maps follow the class if the model does. It is undefined if one region is most important for
both classes, or if removing any region lowers neither score. Few images remain, and the model's errors choose them: read
the value with its count. Cost: the forwards of region_correctness, shared if both are requested.
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
    first = removals.compare_shares(_at(own.share, region), _at(rival.share, region))
    second = removals.compare_shares(_at(rival.share, region2), _at(own.share, region2))
    alone, none, same = ~base.rival.mass.isfinite(), ~(costs & costs2), region == region2
    reason = removals.first_reason([(alone, ONE_MAP), (none, NONE), (same, SAME)])
    return Values((first + second) / 2, undefined=alone | none | same, reason=reason)


def _rival(scores: Scores) -> Scores:
    assert scores.rival is not None  # the runner sets it for all scores or for none
    return scores.rival


def _most_important(effects: removals.RegionEffects) -> tuple[Tensor, Tensor]:  # (m,), (m,)
    """Return the region whose removal lowers the score most, and whether it lowers it at all."""
    most = effects.drop.masked_fill(~effects.present, -torch.inf).max(dim=0)
    return most.indices, most.values > 0


def _at(values: Tensor, row: Tensor) -> Tensor:  # (k, m), (m,) -> (m,)
    """Return each column's value at its row."""
    return values.gather(0, row[None])[0]
