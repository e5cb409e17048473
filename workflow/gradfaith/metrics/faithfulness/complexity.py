"""Complexity: how much of the image the map shows; the mean of the map.

    Com = sum(u) / N                                                                    [poppi2021]

Lower is better, and an empty map is best of all, so it never stands alone; a constant map is degenerate, not perfect. Some
code leaves the division by N out. It asks the model nothing: it rides on the image that average_drop keeps. Cost: the forward
of average_drop where it stands alone.
"""

from collections.abc import Iterator, Mapping

from gradfaith.metrics.contract import Change, Maps, Metric, Scores, Values

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


def changes(maps: Maps) -> Iterator[Change]:
    yield Change("kept", lambda: maps.unit)


def score(_base: Scores, after: Mapping[str, Scores]) -> Values:
    return Values(1 - after["kept"].area)
