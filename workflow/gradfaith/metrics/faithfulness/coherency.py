"""Coherency: asked again about only what its map shows, does the method show the same?

    Coh = (1 + rho) / 2,  rho = Pearson( u, v )        u: the map in [0, 1]
                                                       v: the map of x * u, by the whole method again        [poppi2021]

The whole method means every layer, option and score that made u: the code of [domeniconi2026] keeps RefineCAM's deeper maps
from the unmasked image and multiplies them in again, which flatters it. Chance is drawn anew, too. A map of the masked image
that is constant has no correlation with anything: undefined, where published codes say 0.5 or stop. Two maps that
have nothing to do with each other get 0.5, so that is where the scale begins in practice; a method that does not
look, such as a control, repeats itself and gets 1. Cost: one re-run per map and imputer.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from gradfaith.metrics.contract import Again, Maps, Metric, Values
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
    differs="the whole method is run again; a constant map of the masked image is undefined",
)


def changes(maps: Maps) -> Iterator[Again]:
    yield Again("kept", keep=lambda: maps.unit)


def score(base: Explained, after: Mapping[str, Explained]) -> Values:
    again = after["kept"]
    cov, spread, other = moments(base.unit, again.unit)
    rho = cov / torch.where(again.constant, 1.0, (spread * other).sqrt())
    return Values(
        ((1 + rho) / 2).clamp(0, 1), undefined=again.constant, reason="the map of the image it masks is constant"
    )


def moments(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # (m, h, w) twice -> (m,) each
    """Covariance and both variances over the pixels, in double precision."""
    one, two = (maps.flatten(1).double() for maps in (first, second))
    one, two = one - one.mean(dim=1, keepdim=True), two - two.mean(dim=1, keepdim=True)
    return (one * two).mean(dim=1), one.square().mean(dim=1), two.square().mean(dim=1)
