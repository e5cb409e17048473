"""Area-matched Faith: the drop of the class probability when every map removes the same number of pixels.

    Faith = p(x) - p(x without the round(q N) most relevant pixels)          q = 20 %                [panboonyuen2026, rong2022]

`faith` scales each map to [0, 1] and removes what it shows, so an offset or one hot pixel changes the value, and a broad
map removes more. Here only the order of the map's values counts, and all maps remove the same area; ties are broken by a
seeded draw. Read it beside `faith`, and `complexity` (the share of the image that `faith` removes). Cost: one forward per
map and imputer, shared with the point q of `deletion` and `road`.
"""

from collections.abc import Iterator, Mapping

from gradfaith.metrics.contract import BatteryMaps, Metric, RankedRemoval, Scores, Values

METRIC = Metric(
    family="faithfulness",
    target="predicted",
    bounds=(-1, 1),
    better="higher",
    battery="ranking",
    forwards=1,
    invariances=("scale", "monotone"),
    cite="panboonyuen2026",
    differs="a fixed number of pixels, in the map's order, instead of the map as a soft mask",
    limits=("0 < share < 1",),
)


def changes(_maps: BatteryMaps, *, share: float = 0.2) -> Iterator[RankedRemoval]:
    yield RankedRemoval("most", share)


def score(base: Scores, after: Mapping[str, Scores], *, share: float = 0.2) -> Values:
    return Values(base.probability - after[RankedRemoval("most", share).name].probability)
