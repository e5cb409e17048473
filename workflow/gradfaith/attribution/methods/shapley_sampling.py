"""Shapley value sampling: what a superpixel adds to the score, averaged over random orders of adding all of them.

    map = mean over orders of  S(x with the superpixels up to j) - S(x with those before j)   on superpixel j  [castro2009]

An unbiased estimate of the Shapley value, without KernelSHAP's linear model. The map's superpixels always sum to
S(x) - S(x without all superpixels), which each order contributes exactly. SLIC cuts the image
(attribution/support/superpixels.py); a removed superpixel is filled with its own mean, or with mid grey. The orders are drawn
from the image's generator. Signed. The diagnostic `superpixels` is their number. Computed by captum's ShapleyValueSampling,
in single precision. Cost: for each order a forward for each superpixel, and one more.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from gradfaith.attribution.contract import ImageInputs, MapsWithDiagnostics, Method
from gradfaith.attribution.support.captum_adapter import captum_class
from gradfaith.attribution.support.superpixels import ScoreKept, attribute_superpixels

METHOD = Method(
    needs=("image",),
    grid="input",
    signed=True,
    forwards="orders * superpixels + 1",
    seeded=True,
    cite="castro2009",
    limits=("segments >= 3", "orders >= 1"),
)


def attribute(
    inputs: ImageInputs, *, segments: int = 50, orders: int = 20, fill: Literal["mean", "grey"] = "mean"
) -> MapsWithDiagnostics:
    def sample(row: int, scores: ScoreKept, full: Tensor) -> Tensor:  # (1, superpixels)
        def draw_orders(superpixels: int, count: int) -> Iterator[list[int]]:
            for _ in range(count):
                yield torch.randperm(superpixels, generator=inputs.generators[row]).tolist()

        method = captum_class("ShapleyValueSampling")(scores)
        method.permutation_generator = draw_orders  # captum's draws from torch's global generator
        found: Tensor = method.attribute(full, n_samples=orders, perturbations_per_eval=inputs.rows_at_once)
        return found

    return attribute_superpixels(inputs, segments, fill, sample)
