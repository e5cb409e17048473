"""Compute the model-parameter sanity check: the rank correlation of maps before and after the weights are
randomised.

    agreement = Spearman's rank correlation between the map of the model                                    [adebayo2018]
                and the map of the same image, class and method on the model with randomised weights

Maps are compared raw, on their own grid, signed ones with their sign; ties share their average rank. A method
whose maps still agree when no trained weight is left explains the image or the architecture, not the model.
The reverse does not hold: noise has the lowest agreement with itself. A map whose range is below a millionth
of its size (the rounding of single precision, as in metrics/maps/evaluate.py) ranks nothing: it is
degenerate, on either side. Cost: two sorts per map.
"""

import numpy as np
from numpy.typing import NDArray

from gradfaith.metrics.contract import Metric, Result, Values, assign_status
from gradfaith.metrics.maps.rank_correlation import average_ranks, is_constant, pearson_correlation

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
MapArray = NDArray[np.floating]  # (m, h, w)


def variant_name(order: str, step: int, steps: int) -> str:
    """Return the name of a cascade step, as `top_down 2/4`: half of the modules are random, those nearest to the head."""
    return f"{order} {step}/{steps}"


def parse_variant(text: str) -> tuple[str, float]:
    """Return the order and the randomised share of a variant."""
    order, _, share = text.partition(" ")
    step, _, steps = share.partition("/")
    return order, int(step) / int(steps)


def is_fully_randomised(text: str) -> bool:
    """Return whether no trained weight is left in this variant."""
    step, slash, steps = text.rpartition(" ")[2].partition("/")
    return bool(slash) and step == steps


def rank_agreement(trained: MapArray, random: MapArray) -> Result:
    """Return the rank correlation of each pair of maps, with its status; both (m, h, w)."""
    first, second = (maps.reshape(len(maps), -1).astype(np.float64) for maps in (trained, random))
    broken = np.asarray(~(np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)))
    degenerate = np.asarray(~broken & (is_constant(first) | is_constant(second)))
    usable = ~(broken | degenerate)
    return assign_status(
        Values(pearson_correlation(average_ranks(first[usable]), average_ranks(second[usable]))[0]), degenerate, broken
    )
