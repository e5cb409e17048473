"""Randomisation sensitivity: does the map still look the same when the model has forgotten everything?

    |rho|, Spearman's rank correlation of the map with the same method's map on the fully randomised model    [adebayo2018]

Lower is better: 1 is a map that owes nothing to what was learnt, as of every control; a map turned round owes
its layout to something else as much, so the sign is dropped (`randomisation:` keeps it). It is the last step
of the cascade that a study asks for with `randomisation:`, made with the same random network, as one number
beside the other metrics. Maps are raw, on their own grid (metrics/maps/rank_correlation.py); a method with
chance of its own keeps its draws, so that only the model differs. Cost: one re-run per image, whatever the
number of methods.
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
