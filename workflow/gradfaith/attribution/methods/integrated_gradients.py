"""Integrated gradients: the gradient, averaged along the straight line from a baseline to the image.

    map = sum_k (x_k - x'_k) * sum_s w_s g_k( x' + t_s (x - x') )           x': the baseline        [sundararajan2017]

    midpoint        t_s = (s + 1/2) / steps, w_s = 1 / steps
    gauss           Gauss-Legendre nodes and weights on [0, 1]; also captum's default

Over all pixels the map sums to f(x) - f(x'), up to the error of the quadrature rule. Every map records this error as the
diagnostic `completeness`, a share of that difference: above about 0.01, use more steps. Signed; channels are summed, which
the paper leaves open. A pixel that equals the baseline has relevance zero, so the baseline is an option of the map.
Computed by captum's IntegratedGradients, which rounds w_s to single precision, and its convergence delta.
Cost: a forward and a backward for each step, and two forwards for the diagnostic.
"""

from typing import Literal

import torch

from gradfaith.attribution.contract import ImageInputs, MapsWithDiagnostics, Method
from gradfaith.attribution.support.captum_adapter import baseline_images as baseline_of
from gradfaith.attribution.support.captum_adapter import on_scores, rows_of

METHOD = Method(
    needs=("image",),
    grid="input",
    signed=True,
    forwards="steps + 2",
    backwards="steps",
    cite="sundararajan2017",
    limits=("steps >= 1",),
)
CAPTUM_RULES = {"midpoint": "riemann_middle", "gauss": "gausslegendre"}


def attribute(
    inputs: ImageInputs,
    *,
    steps: int = 50,
    baseline: Literal["black", "mean", "blur"] = "black",
    rule: Literal["midpoint", "gauss"] = "gauss",
) -> MapsWithDiagnostics:
    start, method = baseline_of(inputs, baseline), on_scores("IntegratedGradients", inputs)
    how = {"n_steps": steps, "method": CAPTUM_RULES[rule], "internal_batch_size": inputs.rows_at_once}
    # One image at a time, so that memory holds the gradients of some steps of one image only.
    found = torch.cat(
        [
            method.attribute(inputs.images[[row]], start[[row]], **rows_of(inputs, row), **how).detach()
            for row in range(len(start))
        ]
    )
    delta = method.compute_convergence_delta(found, start, inputs.images, **rows_of(inputs))
    maps = found.sum(dim=1)
    gained = maps.sum(dim=(1, 2)) - delta
    return MapsWithDiagnostics(maps, {"completeness": delta.abs() / gained.abs()})
