"""Increase in Confidence: whether the class probability rises if the image is multiplied by the map.

    IC = 1[ p(x * u) > p(x) ]                                                                    [chattopadhay2018]

One or zero per image; the mean over images is the published number. A probability of 1 cannot rise, and an all-ones map
changes nothing: both score 0. Cost: the forward of average_drop.
"""

from collections.abc import Iterator, Mapping

from gradfaith.metrics.contract import BatteryMaps, MaskedChange, Metric, Scores, Values

METRIC = Metric(
    family="faithfulness",
    target="predicted",
    bounds=(0, 1),
    better="higher",
    battery="masking",
    forwards=1,
    invariances=("scale",),
    cite="chattopadhay2018",
)


def changes(maps: BatteryMaps) -> Iterator[MaskedChange]:
    yield MaskedChange("kept", lambda: maps.unit)


def score(base: Scores, after: Mapping[str, Scores]) -> Values:
    return Values((after["kept"].probability > base.probability).to(base.probability.dtype))
