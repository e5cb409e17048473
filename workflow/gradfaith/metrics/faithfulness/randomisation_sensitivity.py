"""Randomisation sensitivity: does the map still look the same when the model has forgotten everything?

    |rho|, Spearman's rank correlation of the map with the same method's map on the fully randomised model    [adebayo2018]

Lower is better: 1 is a map that owes nothing to what was learnt, as of every control; a map turned round owes its layout to
something else as much, so the sign is dropped (`randomisation:` keeps it). It is the last step of the cascade that a study
asks for with `randomisation:`, made with the same random network, as one number beside the other metrics. Maps are
raw, on their own grid (metrics/maps/randomisation.py); a method with chance of its own keeps its draws, so that only the model
differs. Cost: one re-run per image, whatever the number of methods.
"""

from collections.abc import Iterator, Mapping

from gradfaith.metrics.contract import Again, Maps, Metric, Values
from gradfaith.metrics.maps.evaluate import Explained
from gradfaith.metrics.maps.randomisation import agreement

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


def changes(_maps: Maps) -> Iterator[Again]:
    yield Again("randomised", model="randomised")


def score(base: Explained, after: Mapping[str, Explained]) -> Values:
    trained, random = (maps.raw.cpu().numpy() for maps in (base, after["randomised"]))
    found = agreement(trained, random)
    reason = "the map of the randomised model is constant"
    return Values(abs(found.value), undefined=found.status == "degenerate", reason=reason)
