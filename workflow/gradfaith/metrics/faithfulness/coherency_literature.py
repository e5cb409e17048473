"""Coherency as in the package grad-cam, where a constant new map scores 0.5; for comparison with published numbers.

    (1 + rho) / 2,  rho = cov(u, v) / (sd(u) sd(v) + 1e-8)                                 [poppi2021, domeniconi2026]

If the map of the masked image is constant, the small number in the denominator gives a correlation of 0, and so a score
of 0.5, as for an unrelated map. `coherency` returns undefined in this case; comparing the two shows for which methods
it matters. Cost: the rerun of coherency.
"""

from collections.abc import Iterator, Mapping

from gradfaith.metrics.contract import BatteryMaps, MethodRerun, Metric, Values
from gradfaith.metrics.faithfulness import coherency
from gradfaith.metrics.maps.evaluate import RerunMaps

METRIC = Metric(
    family="faithfulness",
    target="predicted",
    bounds=(0, 1),
    better="higher",
    battery="rerun",
    forwards=1,
    invariances=("scale",),
    fooled_by=("random", "random-grid", "centre", "uniform", "half", "lungs"),
    cite="poppi2021",
    differs="the literature's variant in grad-cam: 0.5 where the masked image has a constant map",
)


def changes(maps: BatteryMaps) -> Iterator[MethodRerun]:
    yield from coherency.changes(maps)


def score(base: RerunMaps, after: Mapping[str, RerunMaps]) -> Values:
    covariance, variance, variance2 = coherency.moments(base.unit, after["kept"].unit)
    return Values(((1 + covariance / ((variance * variance2).sqrt() + 1e-8)) / 2).clamp(0, 1))
