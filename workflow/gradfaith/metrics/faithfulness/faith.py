"""Faith: the drop of the class probability when the map's region is removed.

    Faith = p(x) - p(x * (1 - u))            u: the map in [0, 1], soft                            [panboonyuen2026]

It uses probabilities, so architectures can be compared; `faith_logit` is the other reading of the paper. The class is the
explained one in both terms (the paper's code takes the predicted class, its text the true one). The imputer replaces
removed pixels; the paper uses black. Faith grows with the area of the map (an all-ones map removes the entire image), so
read it as the gain over shuffled copies of the same map. Cost: one forward per map and imputer.
"""

from collections.abc import Iterator, Mapping

from gradfaith.metrics.contract import BatteryMaps, MaskedChange, Metric, Scores, Values

METRIC = Metric(
    family="faithfulness",
    target="predicted",
    bounds=(-1, 1),
    better="higher",
    battery="masking",
    forwards=1,
    invariances=("scale",),
    fooled_by=("uniform",),
    cite="panboonyuen2026",
    differs="softmax probability of the explained class; pixels are replaced before the normalisation",
)


def changes(maps: BatteryMaps) -> Iterator[MaskedChange]:
    yield MaskedChange("removed", lambda: 1 - maps.unit)


def score(base: Scores, after: Mapping[str, Scores]) -> Values:
    return Values(base.probability - after["removed"].probability)
