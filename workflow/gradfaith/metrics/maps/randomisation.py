"""Randomisation, the model-parameter sanity check: does a map still look the same when the model has forgotten what it learned?

    agreement = Spearman's rank correlation between the map of the model                                    [adebayo2018]
                and the map of the same image, class and method on the model with randomised weights

Maps are compared raw, on their own grid, signed ones with their sign; ties share their average rank. A method whose maps
still agree where nothing trained is left explains the image or the architecture, not the model. The reverse does not
hold: noise disagrees with itself best of all. A map whose range is below a millionth of its size (the rounding of single
precision, as in metrics/maps/evaluate.py) ranks nothing: it is degenerate, on either side. Cost: two sorts per map.
"""

import numpy as np
from numpy.typing import NDArray

from gradfaith.metrics.contract import Metric, Result, Values, settle
from gradfaith.metrics.maps.rank_correlation import correlation, level, ranks

NAME = "randomisation"
METRIC = Metric(
    family="agreement",
    target="predicted",
    bounds=(-1, 1),
    better="lower",
    invariances=("scale", "monotone"),
    fooled_by=("random", "random-grid"),
    cite="adebayo2018",
    differs="raw maps on their own grid; the paper compares absolute values and signed maps at the image's size",
)
Maps = NDArray[np.floating]  # (m, h, w)


def variant(order: str, step: int, steps: int) -> str:
    """`top_down 2/4`: half of the modules are random, those nearest to the head."""
    return f"{order} {step}/{steps}"


def parsed(text: str) -> tuple[str, float]:
    """Order and randomised share of a variant."""
    order, _, share = text.partition(" ")
    step, _, steps = share.partition("/")
    return order, int(step) / int(steps)


def complete(text: str) -> bool:
    """Whether nothing trained is left."""
    step, slash, steps = text.rpartition(" ")[2].partition("/")
    return bool(slash) and step == steps


def agreement(trained: Maps, random: Maps) -> Result:
    """One number per pair of maps."""
    first, second = (maps.reshape(len(maps), -1).astype(np.float64) for maps in (trained, random))
    broken = np.asarray(~(np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)))
    degenerate = np.asarray(~broken & (level(first) | level(second)))
    usable = ~(broken | degenerate)
    return settle(Values(correlation(ranks(first[usable]), ranks(second[usable]))[0]), degenerate, broken)
