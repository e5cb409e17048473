"""Region correctness: whether the map ranks the regions of an image by the effect of their removal.

    Spearman over the regions R of an image:   mean of u in R   with   f(x) - f(x without R)            [hesse2023]

Regions are the parts of an image if the dataset has them. Otherwise they are the evidence, a planted shortcut if there is
one, and `decoys` copies of the evidence's shape elsewhere in the body (metrics/maps/removals.py). Each region is removed
alone, by the imputer. In the terms of FunnyBirds this is the single deletion score, on [-1, 1] instead of [0, 1]. A
part's importance is the mean of the map in it; a sum would favour large parts. Parts are not dilated.

The metric shows whether a map orders regions by their effect on the model. It does not show that the model uses only these
regions: other pixels do not count. With the evidence and a few decoys, the value mostly shows whether the evidence is
first. The order of the decoys is noise, so the value 1 needs a map and a model that both ignore them. Decoys can be
anywhere in the body, so the organ control scores above chance if lesions are in the organ and decoys outside: read the
value beside that control. With fewer than two regions, or no differences between them in the map or for the model, the
value is undefined. Cost: a forward per region, image and imputer, for any number of methods.
"""

from collections.abc import Iterator, Mapping

from gradfaith.metrics.contract import BatteryMaps, MaskedChange, Metric, Scores, Values
from gradfaith.metrics.maps import removals

METRIC = Metric(
    family="faithfulness",
    target="predicted",
    bounds=(-1, 1),
    better="higher",
    battery="ranking",
    regional=True,
    forwards=6,
    invariances=("scale",),
    fooled_by=("lungs",),
    cite="hesse2023",
    differs="the mean of the map in a region, not its sum; correlations are not moved to [0, 1]; decoys where there are no parts",
    limits=("0 <= decoys < 128",),
)
FEW, LEVEL = "the image has fewer than two regions", "all regions weigh the same, in the map or to the model"


def changes(maps: BatteryMaps, *, decoys: int = 5) -> Iterator[MaskedChange]:
    yield from removals.region_changes(maps, decoys)


def score(base: Scores, after: Mapping[str, Scores], *, decoys: int = 5) -> Values:  # noqa: ARG001 - both take all options
    effects = removals.region_effects(base, after)
    mean = effects.share / effects.area.where(effects.present, 1.0)
    mean = removals.round_to_ties(mean, mean.amax(dim=0))
    value, flat = removals.spearman_over_regions(mean, effects.drop, effects.present)
    few = effects.present.sum(dim=0) < 2
    return Values(value, undefined=flat | few, reason=removals.first_reason([(few, FEW), (flat, LEVEL)]))
