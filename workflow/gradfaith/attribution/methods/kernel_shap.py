"""KernelSHAP: Shapley values of superpixels, as the weights of a linear model.

    min over w of  sum_z p(z) (S_z - S_none - z . w)^2   subject to   sum_j w_j = S_all - S_none       [lundberg2017]
    p(z) = (M - 1) / ( C(M, |z|) |z| (M - |z|) )

The constraint holds exactly: w = (S_all - S_none) / M + v, and only v, which sums to 0, is fitted. Copies are drawn with
probability p and have equal weights. Each is followed by its complement, which adds no equation but reduces the variance
[covert2021]; so at least two samples per superpixel are needed to determine the weights. If there are at most as many
subsets as samples, each subset is used once with weight p: this gives the exact Shapley values. A removed superpixel is
filled with its own mean, or with mid grey, so the values depend on the fill. Signed. Computed by captum's KernelShap with
these copies and this fit; its own has two samples of weight 1e6 in place of the constraint.
Diagnostics, also about the number of samples: attribution/support/superpixels.py. Cost: a forward for each sample, and two.
"""

from math import comb
from typing import Literal

import numpy as np
import torch
from torch import Generator

from gradfaith.attribution.contract import ImageInputs, MapsWithDiagnostics, Method
from gradfaith.attribution.support.superpixels import (
    FloatArray,
    SuperpixelCopies,
    explain_by_surrogate,
    require_samples,
    superpixel_labels,
)

METHOD = Method(
    needs=("image",), grid="input", signed=True, forwards="samples + 2", seeded=True, cite="lundberg2017",
    differs="the sum is a constraint, not two heavy samples; copies come with their complements",
    limits=("segments >= 3", "samples >= 1", "samples >= 2 * segments or allow_underdetermined"),
)  # fmt: skip


def attribute(
    inputs: ImageInputs,
    *,
    segments: int = 50,
    samples: int = 1000,
    fill: Literal["mean", "grey"] = "mean",
    allow_underdetermined: bool = False,
) -> MapsWithDiagnostics:
    require_samples(segments, samples, allow_underdetermined)
    labels = superpixel_labels(inputs, segments)
    return explain_by_surrogate(
        "KernelShap", inputs, labels, samples, fill, _copies, _fit, underdetermined=allow_underdetermined
    )


def _copies(count: int, samples: int, generator: Generator) -> SuperpixelCopies:
    """Return the empty and the full copy, then subsets."""
    ends, every = np.array([np.zeros(count), np.ones(count)]), 2**count - 2
    if every <= samples:
        subsets = (np.arange(1, every + 1)[:, None] >> np.arange(count)) & 1
        sizes = subsets.sum(axis=1)
        weights = np.array([(count - 1) / (comb(count, size) * size * (count - size)) for size in sizes.tolist()])
        return SuperpixelCopies(
            np.vstack([ends, subsets]), np.concatenate([[0, 0], weights]), in_every_fit=2, random=False
        )
    sizes = torch.arange(1, count)
    pairs = (samples + 1) // 2
    chosen = torch.multinomial(1 / (sizes * (count - sizes)), pairs, replacement=True, generator=generator) + 1
    ranks = torch.rand((pairs, count), generator=generator).argsort(dim=1).argsort(dim=1)
    subsets = (ranks < chosen[:, None]).numpy()
    both = np.stack([subsets, ~subsets], axis=1).reshape(-1, count)[:samples]
    return SuperpixelCopies(np.vstack([ends, both]), np.concatenate([[0, 0], np.ones(samples)]), in_every_fit=2)


def _fit(kept: FloatArray, scores: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the least-norm solution. It sums to 0, because the rows have no component along (1, ..., 1)."""
    nothing, everything = scores[0], scores[1]
    share = (everything - nothing) / kept.shape[1]
    root = np.sqrt(weights)
    left = root[:, None] * (kept - kept.mean(axis=1, keepdims=True))
    right = root * (scores - nothing - share * kept.sum(axis=1))
    return np.concatenate([[nothing], share + np.linalg.lstsq(left, right, rcond=None)[0]])
