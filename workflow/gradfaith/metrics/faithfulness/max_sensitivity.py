"""Max-sensitivity: the largest relative change of the map for small changes of the image.

    max_k || M(x + d_k) - M(x) || / || M(x) ||          d_k uniform in [-radius, radius], k = 1 ... draws       [yeh2019]

Lower is better, and a method that ignores the image has the best score. Maps are raw, on their own grid, so a map that
only grows counts as changed, too; a map that vanishes has a change of 1. The noise comes from each image's own stream,
the same for all methods. A seeded method draws its own numbers again, and their variation is part of the value. The class
is the one of the unchanged image. A map with permuted cells has the sensitivity of the map itself. Cost: `draws` reruns
per image, for any number of methods.
"""

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from gradfaith.metrics.contract import BatteryMaps, MethodRerun, Metric, Values
from gradfaith.metrics.maps.evaluate import RerunMaps

METRIC = Metric(
    family="faithfulness",
    target="predicted",
    bounds=(0, None),
    better="lower",
    battery="rerun",
    imputed=False,
    forwards=10,
    invariances=("scale",),
    fooled_by=("random", "random-grid", "centre", "uniform", "half", "lungs"),
    cite="yeh2019",
    differs="seeded draws in place of the maximum over the ball; relative to the size of the map, as captum has it",
    limits=("0 < radius <= 1", "draws >= 1"),
)


def changes(maps: BatteryMaps, *, radius: float = 0.02, draws: int = 10) -> Iterator[MethodRerun]:
    for number in range(draws):
        yield MethodRerun(_name(number, radius), shift=partial(_noise, maps, number, radius))


def _noise(maps: BatteryMaps, number: int, radius: float, channels: int) -> Tensor:  # (m, c, h, w)
    uniform = [maps.draw(f"{_name(number, radius)}, channel {channel}") for channel in range(channels)]
    return radius * (2 * torch.stack(uniform, dim=1) - 1)


def _name(number: int, radius: float) -> str:
    return f"noise {number} within {radius:g}"


def score(base: RerunMaps, after: Mapping[str, RerunMaps], *, radius: float = 0.02, draws: int = 10) -> Values:
    before = base.raw.flatten(1).double()
    moved = [(after[_name(number, radius)].raw.flatten(1) - before).norm(dim=1) for number in range(draws)]
    return Values(torch.stack(moved).amax(dim=0) / before.norm(dim=1))
