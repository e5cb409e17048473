"""Coherency as grad-cam computes it: a map that has become constant scores one half. For comparison with others' numbers.

    (1 + rho) / 2,  rho = cov(u, v) / (sd(u) sd(v) + 1e-8)                                 [poppi2021, domeniconi2026]

The small number in the denominator makes a correlation of 0, and so a score of 0.5, of a method that shows nothing at all of the
image it has masked: as much as one that shows something unrelated. Beside `coherency`, which calls it undefined, it
shows for which methods that matters. Cost: the re-run of coherency.
"""

from collections.abc import Iterator, Mapping

from gradfaith.metrics.contract import Again, Maps, Metric, Values
from gradfaith.metrics.faithfulness import coherency
from gradfaith.metrics.maps.evaluate import Explained

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


def changes(maps: Maps) -> Iterator[Again]:
    yield from coherency.changes(maps)


def score(base: Explained, after: Mapping[str, Explained]) -> Values:
    cov, spread, other = coherency.moments(base.unit, after["kept"].unit)
    return Values(((1 + cov / ((spread * other).sqrt() + 1e-8)) / 2).clamp(0, 1))
