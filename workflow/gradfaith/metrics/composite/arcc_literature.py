"""ARCC as in the package grad-cam, from that package's own parts; for comparison with published numbers.

    3 / ( 1/(Coh + e) + 1/(1 - Com + e) + 1/(R + e) ),  R = 2 ROAD kept within [0, 1],  e = 1e-8     [domeniconi2026]

Its ROAD removes all tied pixels at once (`road_pgc`). Its Coherency is one half if the new map is constant
(`coherency_literature`). Its documentation states a geometric mean; the code computes the harmonic one. It multiplies
the normalised image by the map, which fills with the dataset's mean, so compare with the variant `mean`. Cost: none.
"""

from collections.abc import Mapping
from typing import Any

from gradfaith.metrics.contract import Metric, Values

METRIC = Metric(
    family="composite",
    target="predicted",
    bounds=(0, 1),
    better="higher",
    parts={"coherency_literature": "", "complexity": "", "road_pgc": "noisy_linear"},
    cite="domeniconi2026",
    differs="the literature's variant in grad-cam, by the paper's first author",
)


def score(parts: Mapping[str, Any]) -> Values:
    order = (2 * parts["road_pgc"]).clip(0, 1)
    terms = parts["coherency_literature"], 1 - parts["complexity"], order
    return Values(3 / sum(1 / (term + 1e-8) for term in terms))
