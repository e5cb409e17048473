"""LIME: a linear model of the scores of images with removed superpixels, weighted by similarity to the full image.

    min over b, w of  sum_s k(z_s) (S_s - b - z_s . w)^2 + ridge |w|^2                          [ribeiro2016]
    k(z) = exp( -d^2 / (2 width^2) ),   d = 1 - sqrt(|z| / M): the cosine distance to the full image of M superpixels

Every superpixel is kept with probability 1/2, so nearly all copies lack about half of the image, and the kernel weights them
almost equally. The authors' package does the same, but explains a probability and selects features first; we explain the
study's score with all superpixels. A removed superpixel is filled with its own mean, or with mid grey. Signed.
Computed by captum's Lime with these copies, weights and this fit; its own weigh copies by the cosine of their pixels.
Diagnostics, also about the number of samples: attribution/support/superpixels.py. Cost: a forward per sample, and one.
"""

from functools import partial
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
    needs=("image",), grid="input", signed=True, forwards="samples + 1", seeded=True, cite="ribeiro2016",
    differs="ridge on all superpixels, of the score, without a selection of features before",
    limits=("segments >= 3", "samples >= 1", "samples >= 2 * segments or allow_underdetermined", "width > 0", "ridge >= 0"),
)  # fmt: skip


def attribute(
    inputs: ImageInputs,
    *,
    segments: int = 50,
    samples: int = 1000,
    fill: Literal["mean", "grey"] = "mean",
    width: float = 0.25,
    ridge: float = 1.0,
    allow_underdetermined: bool = False,
) -> MapsWithDiagnostics:
    require_samples(segments, samples, allow_underdetermined)
    labels = superpixel_labels(inputs, segments)
    draw, fit = partial(_copies, width=width), partial(_fit, ridge=ridge)
    return explain_by_surrogate("Lime", inputs, labels, samples, fill, draw, fit, underdetermined=allow_underdetermined)


def _copies(count: int, samples: int, generator: Generator, *, width: float) -> SuperpixelCopies:
    """Return the image itself, and copies that keep each superpixel with probability 1/2."""
    drawn = torch.rand((samples, count), generator=generator) < 0.5
    kept = torch.cat([torch.ones(1, count, dtype=torch.bool), drawn]).double().numpy()
    distance = 1 - np.sqrt(kept.mean(axis=1))
    return SuperpixelCopies(kept, np.exp(-(distance**2) / (2 * width**2)), in_every_fit=1)


def _fit(kept: FloatArray, scores: FloatArray, weights: FloatArray, *, ridge: float) -> FloatArray:
    """Fit centred values, so that the constant is not penalised; the ridge is added as rows, for numerical stability."""
    middle, level = np.average(kept, axis=0, weights=weights), np.average(scores, weights=weights)
    root = np.sqrt(weights)
    left = np.vstack([root[:, None] * (kept - middle), np.sqrt(ridge) * np.eye(kept.shape[1])])
    right = np.concatenate([root * (scores - level), np.zeros(kept.shape[1])])
    slopes = np.linalg.lstsq(left, right, rcond=None)[0]
    return np.concatenate([[level - middle @ slopes], slopes])
