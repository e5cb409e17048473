"""FunnyBirds score: the mean of completeness, correctness and contrastivity.

    score = ( Com + Cor + Con ) / 3                                                                            [hesse2023]

The score is per map, so it exists only for images that have all three parts: correctly classified ones whose contrast classes the
model tells apart by their parts. The published score averages each part over its own images first. It can stand for the truth
in `meta:`, because it needs the dataset's own images without parts. Cost: none.
"""

from collections.abc import Mapping
from typing import Any

from gradfaith.metrics.contract import Metric, Values

METRIC = Metric(
    family="composite",
    target="true",
    bounds=(0, 1),
    better="higher",
    parts={"funnybirds_completeness": "", "funnybirds_correctness": "", "funnybirds_contrastivity": ""},
    truth=True,
    cite="hesse2023",
    differs="the mean of three values per image, not of three averages over different images",
)


def score(parts: Mapping[str, Any]) -> Values:
    return Values(sum(parts.values()) / len(parts))
