"""Complexity: the share of the image that the map shows; the mean of the map.

    Com = sum(u) / N                                                                    [poppi2021]

Lower is better, and an empty map has the best score, so never read this metric alone; a constant map is degenerate, not
perfect. Some code omits the division by N. The model's output is not used: the metric shares the masked image of
average_drop. Cost: the forward of average_drop.
"""

from collections.abc import Iterator, Mapping

from gradfaith.metrics.contract import BatteryMaps, MaskedChange, Metric, Scores, Values

METRIC = Metric(
    family="faithfulness",
    target="predicted",
    bounds=(0, 1),
    better="lower",
    battery="masking",
    forwards=1,
    invariances=("scale", "flip"),
    fooled_by=("half",),
    cite="poppi2021",
)


def changes(maps: BatteryMaps) -> Iterator[MaskedChange]:
    yield MaskedChange("kept", lambda: maps.unit)


def score(_base: Scores, after: Mapping[str, Scores]) -> Values:
    return Values(1 - after["kept"].area)
