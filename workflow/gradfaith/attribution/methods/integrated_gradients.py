"""Integrated gradients: the gradient, averaged along the straight line from a baseline to the image.

    map = sum_k (x_k - x'_k) * sum_s w_s g_k( x' + t_s (x - x') )           x': the baseline        [sundararajan2017]

    midpoint        t_s = (s + 1/2) / steps, w_s = 1 / steps
    gauss           Gauss-Legendre nodes and weights on [0, 1]; also captum's default

Over all pixels the map sums to f(x) - f(x'), up to the error of the quadrature rule. Every map records this error as the
diagnostic `completeness`, a share of that difference: above about 0.01, use more steps. Signed; channels are summed, which
the paper leaves open. A pixel that equals the baseline has relevance zero, so the baseline is an option of the map.
Cost: a forward and a backward for each step, and two forwards for the diagnostic.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gradfaith.attribution.contract import ImageInputs, MapsWithDiagnostics, Method
from gradfaith.attribution.support.pixel_methods import baseline_images as baseline_of

METHOD = Method(
    needs=("image",),
    grid="input",
    signed=True,
    forwards="steps + 2",
    backwards="steps",
    cite="sundararajan2017",
    limits=("steps >= 1",),
)


def attribute(
    inputs: ImageInputs,
    *,
    steps: int = 50,
    baseline: Literal["black", "mean", "blur"] = "black",
    rule: Literal["midpoint", "gauss"] = "gauss",
) -> MapsWithDiagnostics:
    start = baseline_of(inputs, baseline)
    places, weights = (part.to(inputs.images) for part in _rule(rule, steps))
    # One image at a time, so that memory holds the gradients of all steps for one image only.
    slopes = torch.stack([_slope(inputs, start, row, places, weights) for row in range(len(start))])
    maps = ((inputs.images - start) * slopes).sum(dim=1)
    rows = torch.arange(len(start), device=start.device)
    gained = inputs.scores(lambda some: inputs.images[some], rows) - inputs.scores(lambda some: start[some], rows)
    return MapsWithDiagnostics(maps, {"completeness": (maps.sum(dim=(1, 2)) - gained).abs() / gained.abs()})


def _slope(inputs: ImageInputs, start: Tensor, row: int, places: Tensor, weights: Tensor) -> Tensor:  # (c, h, w)
    """Return the averaged gradient of one image."""

    def between(some: slice) -> Tensor:  # (m, c, h, w)
        return start[row] + places[some, None, None, None] * (inputs.images[row] - start[row])

    rows = torch.full((len(places),), row, device=start.device)
    return torch.einsum("s,schw->chw", weights, inputs.gradients(between, rows))


def _rule(rule: str, steps: int) -> tuple[Tensor, Tensor]:  # (steps,), (steps,)
    if rule == "midpoint":
        return (torch.arange(steps, dtype=torch.float64) + 0.5) / steps, torch.full((steps,), 1 / steps).double()
    places, weights = np.polynomial.legendre.leggauss(steps)
    return torch.from_numpy((places + 1) / 2), torch.from_numpy(weights / 2)
