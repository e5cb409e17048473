"""FunnyBirds correctness: whether the map ranks the parts of the object by the effect of their removal.

    (1 + Spearman over the parts) / 2   of   share of the map in the part   with   f(x) - f(x without the part)    [hesse2023]

The images without a part are the dataset's own, rendered again: nothing is filled in, so no imputer plays a role. This is the
single deletion score. The map is that of the true class, for all images, as published. A part that the view hides counts as a
part without importance. Five parts give few distinct values per image: read averages.

The published code adds up a signed map. Here the part of the map that the study reads is added up, as everywhere. A sum favours
large parts, as published: a map of ones has a part's area as its importance and scores well where large parts matter more, so
read the value beside the control `uniform`. The metric does not show that the model uses only these parts. It is undefined if
the map, or the model, does not tell any parts apart.
Cost: a forward per part and image, for any number of methods.
"""

from collections.abc import Iterator, Mapping

from gradfaith.metrics.contract import BatteryMaps, Metric, PartRemoval, Scores, Values
from gradfaith.metrics.maps import removals, renders

METRIC = Metric(
    family="faithfulness",
    target="true",
    bounds=(0, 1),
    better="higher",
    battery="rendered",
    imputed=False,
    forwards=5,
    invariances=("scale",),
    cite="hesse2023",
    differs="adds up the part of the map that the study reads, not a signed map",
)
LEVEL = "all parts weigh the same, in the map or to the model"


def changes(maps: BatteryMaps) -> Iterator[PartRemoval]:
    yield from renders.removals_of_one(maps)


def score(base: Scores, after: Mapping[str, Scores]) -> Values:
    effects = renders.PartEffects(base, after)
    singles = [(part,) for part in effects.parts]
    known, mass, drop = effects.known(singles), effects.importance(effects.parts), effects.drop(singles)
    there = known.all(dim=0) & (known.sum(dim=0) > 0)
    if not singles:
        return Values(base.logit.double() * 0, undefined=~there, reason=renders.NO_RENDERS)
    mass = removals.round_to_ties(mass, mass.amax(dim=0))
    size = drop.abs().amax(dim=0).maximum(base.logit.double().abs())
    value, flat = removals.spearman_over_regions(mass, removals.round_to_ties(drop, size), known)
    reason = removals.first_reason([(~there, renders.NO_RENDERS), (flat, LEVEL)])
    return Values((1 + value) / 2, undefined=~there | flat, reason=reason)
