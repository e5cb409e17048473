"""Faith in logits: the drop of the class logit when the map's region is removed.

    Faith = f(x) - f(x * (1 - u))            f: the logit of the explained class                   [panboonyuen2026]

The paper defines f as the logits and writes of confidence; its code subtracts logits. The value is unbounded and on each
network's own scale, so compare methods within a model, not architectures. It uses the same modified image as `faith`, so
beside it there is no cost; alone, one forward per map and imputer.
"""

from collections.abc import Iterator, Mapping

from gradfaith.metrics.contract import BatteryMaps, MaskedChange, Metric, Scores, Values

METRIC = Metric(
    family="faithfulness",
    target="predicted",
    bounds=(None, None),
    better="higher",
    battery="masking",
    forwards=1,
    own_scale=True,
    invariances=("scale",),
    fooled_by=("uniform",),
    cite="panboonyuen2026",
    differs="the class is the explained one in both terms; pixels are replaced before the normalisation",
)


def changes(maps: BatteryMaps) -> Iterator[MaskedChange]:
    yield MaskedChange("removed", lambda: 1 - maps.unit)


def score(base: Scores, after: Mapping[str, Scores]) -> Values:
    return Values(base.logit - after["removed"].logit)
