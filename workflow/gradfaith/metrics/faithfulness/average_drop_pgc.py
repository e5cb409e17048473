"""Average Drop as in the package grad-cam: the absolute loss of probability; for comparison with published numbers.

    max(0, p(x) - p(x * u))

An image with a low class probability can lose little, however bad its map is. Cost: the forward of average_drop.
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
    invariances=("scale",),
    fooled_by=("uniform",),
    cite="chattopadhay2018",
    differs="not divided by p(x): the literature's variant in grad-cam, named DropInConfidence there",
)


def changes(maps: BatteryMaps) -> Iterator[MaskedChange]:
    yield MaskedChange("kept", lambda: maps.unit)


def score(base: Scores, after: Mapping[str, Scores]) -> Values:
    return Values((base.probability - after["kept"].probability).clamp(min=0))
