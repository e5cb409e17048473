"""Rank the values of maps and correlate the ranks: between two models, and before and after weights are randomised.

    rank of a value = the number of the map's values below it, plus half of the others that tie with it
    rho             = Pearson's correlation of the ranks                                            [spearman1904]

Ranks count from 0 and are stored in single precision, which is exact for maps of up to four million values. A map whose
range is below a millionth of its largest value (the rounding error of single precision, as in metrics/maps/evaluate.py)
has no ranking: it is degenerate, on either side. Cost: a sort per map, once for all comparisons; then a pass per pair.

Maps with different grids are compared on the coarser one, per axis:

    value = mean of the map over the area of the coarse position                    7 x 7 and 14 x 14 -> 7 x 7

The finer map is averaged; the coarser one is never interpolated, because that would order places that the coarse map
does not distinguish. The rule is symmetric in the two maps, keeps the mean of a map, its sign and its mirror images, and
does not change a map that has the grid already. If positions do not nest (6 into 4), each is cut into equal strips, so that
equal values stay exactly tied.

The model-parameter sanity check [adebayo2018] is this correlation between a model's map and the map of the same image,
class and method on the model with randomised weights; maps are raw, on their own grid, with their sign. If the maps of a
method still agree after all weights are randomised, they explain the image or the architecture, not the model. Low
agreement does not show the opposite: random maps have the lowest agreement.
"""

from collections.abc import Iterable
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith.metrics.contract import Metric, Result, Values, assign_status
from gradfaith.vocabulary import CONSTANT_RANGE

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
    """Return the name of a cascade step; `top_down 2/4`: the half of the modules nearest to the head is random."""
    return f"{order} {step}/{steps}"


def parse_variant(text: str) -> tuple[str, float]:
    """Return the order and the randomised share of a variant."""
    order, _, share = text.partition(" ")
    step, _, steps = share.partition("/")
    return order, int(step) / int(steps)


def is_fully_randomised(text: str) -> bool:
    """Return whether this variant has no trained weight."""
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


GridShape = tuple[int, int]  # height and width, in positions of the grid


def coarsest_shape(shapes: Iterable[GridShape]) -> GridShape:
    """Return the smallest height and the smallest width."""
    heights, widths = zip(*shapes, strict=True)
    return min(heights), min(widths)


def regrid(maps: NDArray[Any], shape: GridShape) -> NDArray[Any]:  # (m, h0, w0) -> (m, h, w)
    """Average maps over the positions of a grid that is not finer."""
    for axis, count in ((1, shape[0]), (2, shape[1])):
        if maps.shape[axis] != count:
            maps = _average(maps, axis, count)
    return maps


def _average(maps: NDArray[Any], axis: int, count: int) -> NDArray[np.float64]:
    strips = lcm(maps.shape[axis], count)
    fine = np.repeat(maps.astype(np.float64), strips // maps.shape[axis], axis=axis)
    shape = [*maps.shape[:axis], count, strips // count, *maps.shape[axis + 1 :]]
    coarse: NDArray[np.float64] = fine.reshape(shape).mean(axis=axis + 1)
    return coarse


Numbers = NDArray[np.floating]


def average_ranks(maps: Numbers) -> NDArray[np.float32]:  # (m, ...) -> (m, ...)
    """Rank the values within every map; ties share their average rank."""
    ranks = np.empty(maps.shape, dtype=np.float32)
    for values, place in zip(_flat(maps), _flat(ranks), strict=True):
        order = values.argsort()
        rising = values[order]
        new = np.concatenate([[True], rising[1:] != rising[:-1]])
        starts = np.flatnonzero(new)
        ends = np.concatenate([starts[1:], [len(values)]])
        place[order] = ((starts + ends - 1) / 2)[new.cumsum() - 1]
    return ranks


def pearson_correlation(
    first: Numbers, second: Numbers
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:  # 2 x (m, ...) -> (m,), (m,)
    """Return Pearson's correlation of each pair, and whether it is undefined because one side is constant."""
    sides = [_flat(side).astype(np.float64) for side in (first, second)]
    a, b = (side - side.mean(axis=1, keepdims=True) for side in sides)
    size = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    flat: NDArray[np.bool_] = size <= 0
    return np.clip((a * b).sum(axis=1) / np.where(flat, 1, size), -1, 1), flat


def is_constant(maps: Numbers) -> NDArray[np.bool_]:  # (m, h, w) -> (m,)
    """Return which maps have no ranking: their range is below a millionth of their largest value."""
    flat = _flat(maps)
    with np.errstate(invalid="ignore"):
        constant: NDArray[np.bool_] = np.ptp(flat, axis=1) <= CONSTANT_RANGE * np.abs(flat).max(axis=1)
    return constant


def _flat(maps: Numbers) -> Numbers:  # (m, ...) -> (m, p), also where there is no map
    return maps.reshape(len(maps), int(np.prod(maps.shape[1:])))
