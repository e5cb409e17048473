"""FunnyBirds contrastivity: whether a class's map marks the parts that the image shares with this class.

    a, b = two contrast classes of the image's class: A are the parts that a shares with it, B those of b, and A, B are disjoint
    value = 1/2 [share of a's map in A  >  share of b's map in A]  +  1/2 [share of b's map in B  >  share of a's map in B]  [hesse2023]

Both maps are of the same model, method and image; neither class is the image's own. Equal shares count half, so a method with
the same map for every class scores 1/2, as does chance. The published framework counts them as 0, and the code beside one of our
papers passes one map for both classes, so its contrastivity is 0 for every method.

As published, an image counts only if the model agrees with the premise: removing A lowers a's logit more than removing B does,
and the reverse for b. So the model's own logic chooses the images: read the value with its count. A study with this metric makes
the maps of two more classes per image. Cost beside them: a forward per set of parts and image, shared with funnybirds_completeness.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from gradfaith.metrics.contract import BatteryMaps, Metric, PartRemoval, Scores, Values
from gradfaith.metrics.maps import removals, renders

METRIC = Metric(
    family="faithfulness",
    target="true",
    bounds=(0, 1),
    better="higher",
    battery="rendered",
    imputed=False,
    rival=True,
    contrast=True,
    forwards=31,
    invariances=("scale",),
    cite="hesse2023",
    differs="shares of the two maps are compared, not sums of signed values; ties count half",
)
ONE_MAP = "one of the two contrast classes has no map: it is constant or broken"
PREMISE = "the model does not lose a contrast class more by the parts shared with it"


def changes(maps: BatteryMaps) -> Iterator[PartRemoval]:
    yield from renders.removals_of_parts(maps)


def score(base: Scores, after: Mapping[str, Scores]) -> Values:
    effects = renders.PartEffects(base, after)
    if not effects.parts or base.rival is None:
        return Values(base.logit.double() * 0, undefined=torch.ones_like(base.top), reason=renders.NO_RENDERS)
    shared = [_removal_of(effects, which) for which in (1, 2)]  # each (s, m): the set that the class shares
    members = [_members(effects, rows) for rows in shared]  # each (k, m)
    there = (members[0].any(dim=0)) & (members[1].any(dim=0))
    drop = {rival: effects.drop(list(effects.by_set), rival=rival) for rival in (False, True)}
    fall = [[(drop[rival] * rows).sum(dim=0) for rows in shared] for rival in (False, True)]
    agrees = (fall[0][0] > fall[0][1]) & (fall[1][1] > fall[1][0])
    alone = ~base.rival.mass.isfinite()
    own, other = (effects.importance(effects.parts, rival=rival) for rival in (False, True))
    first = removals.compare_shares((own * members[0]).sum(dim=0), (other * members[0]).sum(dim=0))
    second = removals.compare_shares((other * members[1]).sum(dim=0), (own * members[1]).sum(dim=0))
    reason = removals.first_reason([(~there, renders.NO_RENDERS), (alone, ONE_MAP), (~agrees, PREMISE)])
    return Values((first + second) / 2, undefined=~there | alone | ~agrees, reason=reason)


def _removal_of(effects: renders.PartEffects, which: int) -> Tensor:  # (s, m)
    """Return which removal takes exactly the parts that a contrast class shares, map by map."""
    renders_of_sets = [scores.render for scores in effects.by_set.values()]
    return torch.stack([(one.shared == which) & one.known for one in renders_of_sets if one])


def _members(effects: renders.PartEffects, rows: Tensor) -> Tensor:  # (s, m) -> (k, m)
    """Return which parts the removal takes."""
    takes = torch.tensor(
        [[part in removed for removed in effects.by_set] for part in effects.parts], device=rows.device
    )
    return (takes[:, :, None] & rows).any(dim=1)
