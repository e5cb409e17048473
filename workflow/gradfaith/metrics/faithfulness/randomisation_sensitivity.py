"""Randomisation sensitivity: the similarity of maps before and after all weights are randomised.

    |rho|, Spearman's rank correlation of the map with the same method's map on the fully randomised model    [adebayo2018]

Lower is better: 1 means that a map does not depend on the trained weights, as for every control. An inverted map does not
depend on them either, so the sign is dropped (`randomisation:` keeps it). The value is the last step of the cascade of
`randomisation:`, with the same random network, as one number beside the other metrics. Maps are raw, on their own grid
(metrics/maps/rank_correlation.py). A seeded method repeats its draws, so that only the model differs. Cost: one rerun per
image, for any number of methods.
"""

from collections.abc import Iterator, Mapping

from gradfaith.metrics.contract import BatteryMaps, MethodRerun, Metric, Values
from gradfaith.metrics.maps.evaluate import RerunMaps
from gradfaith.metrics.maps.rank_correlation import rank_agreement

METRIC = Metric(
    family="faithfulness",
    target="predicted",
    bounds=(0, 1),
    better="lower",
    battery="rerun",
    imputed=False,
    forwards=1,
    invariances=("scale",),
    cite="adebayo2018",
    differs="raw maps on their own grid; the paper compares absolute values and signed maps at the image's size",
)


def changes(_maps: BatteryMaps) -> Iterator[MethodRerun]:
    yield MethodRerun("randomised", model="randomised")


def score(base: RerunMaps, after: Mapping[str, RerunMaps]) -> Values:
    trained, randomised = (maps.raw.cpu().numpy() for maps in (base, after["randomised"]))
    agreement = rank_agreement(trained, randomised)
    reason = "the map of the randomised model is constant"
    return Values(abs(agreement.value), undefined=agreement.status == "degenerate", reason=reason)
