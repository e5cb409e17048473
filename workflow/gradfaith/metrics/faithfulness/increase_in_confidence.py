"""Increase in Confidence: does the class become more probable when only what the map shows is kept?

    IC = 1[ p(x * u) > p(x) ]                                                                    [chattopadhay2018]

One or zero per image; the mean over images is the published number. A class that is certain cannot become
more so, and an all-ones map changes nothing: both give 0. Cost: the forward of average_drop.
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
