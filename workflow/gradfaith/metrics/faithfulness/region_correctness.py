"""Region correctness: does the map rank the regions of an image as the model needs them?

    Spearman over the regions R of an image:   mean of u in R   with   f(x) - f(x without R)            [hesse2023]

Regions are the parts of an image where the dataset knows them; else the evidence, a planted shortcut where
there is one, and `decoys` copies of the evidence's shape elsewhere in the body (metrics/maps/removals.py). A
region is taken away alone, by the imputer. In FunnyBirds' terms this is the single deletion score, on [-1, 1]
and not [0, 1]; a part's importance is the mean and not the sum of the map in it, which a large part would win
by its size, and the part is not widened by its seam.

It can say that a map puts regions in the order in which the model loses by them. It cannot say that the
regions are what the model looks at: what matters outside all of them counts for nothing. With the evidence
against a few decoys most of the number is whether the evidence comes first; the order of the decoys is what
is left of noise, so 1 is reached by a map and a model that both ignore them. Decoys lie anywhere in the body,
so the organ painted evenly earns something where lesions lie in it and decoys beside it: read the number
beside that control. Fewer than two regions, or none that stands out in the map or for the model: undefined.
Cost: a forward per region, image and imputer, whatever the number of methods.
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
