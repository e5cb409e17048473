"""Faith in logits: the score the class loses when what the map shows is taken away.

    Faith = f(x) - f(x * (1 - u))            f: the logit of the explained class                   [panboonyuen2026]

The paper defines f as the logits and speaks of confidence; its code subtracts logits. Unbounded, and on each
network's own scale: compare methods within a model by it, not architectures. Asks for the same changed image
as `faith`, so beside it it costs nothing; alone, one forward per map and imputer.
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
    invariances=("scale",),
    fooled_by=("uniform",),
    cite="panboonyuen2026",
    differs="the class is the explained one in both terms; pixels are replaced before the normalisation",
)


def changes(maps: BatteryMaps) -> Iterator[MaskedChange]:
    yield MaskedChange("removed", lambda: 1 - maps.unit)


def score(base: Scores, after: Mapping[str, Scores]) -> Values:
    return Values(base.logit - after["removed"].logit)
