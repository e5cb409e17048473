"""Faith on calibrated probability: the drop of the calibrated class probability when the map's region is removed.

    Faith = p(x) - p(x * (1 - u))            p = softmax(logits / T), T fitted on validation images      [guo2017]

Raw probabilities of two networks are not on one scale: one may say 0.99 where the other says 0.8 and is right as often.
Temperatures are fitted when the models predict (models/predict.py), so compare architectures by this metric, beside
`faith`. Of a class with several outputs, T divides the class's logit. It uses the same modified image as `faith`, so
beside it there is no cost; alone, one forward per map and imputer.
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
    differs="calibrated probability of the explained class; pixels are replaced before the normalisation",
)


def changes(maps: BatteryMaps) -> Iterator[MaskedChange]:
    yield MaskedChange("removed", lambda: 1 - maps.unit)


def score(base: Scores, after: Mapping[str, Scores]) -> Values:
    return Values(base.calibrated - after["removed"].calibrated)
