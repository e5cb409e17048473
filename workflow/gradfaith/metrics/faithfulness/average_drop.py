"""Average Drop: the relative loss of the class probability if the image is multiplied by the map.

    AD = max(0, p(x) - p(x * u)) / p(x)              u: the map in [0, 1], soft                  [chattopadhay2018]

An all-ones map keeps everything and has the best score, so never read this metric alone: read it beside Complexity, or
use ADCC. Some code reports percent, some the absolute drop, one the sum over the batch; we report the fraction per
image. Cost: one forward per map and imputer, shared with increase_in_confidence and complexity.
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
    differs="a fraction of the class's probability, per image; undefined where there is none to lose",
)


def changes(maps: BatteryMaps) -> Iterator[MaskedChange]:
    yield MaskedChange("kept", lambda: maps.unit)


def score(base: Scores, after: Mapping[str, Scores]) -> Values:
    lost = (base.probability - after["kept"].probability).clamp(min=0)
    none = base.probability < 1e-6
    return Values(
        lost / base.probability.clamp(min=1e-6), undefined=none, reason="the class had no probability to lose"
    )
