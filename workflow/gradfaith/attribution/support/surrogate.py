"""Explain scores by a linear model over superpixels; LIME and KernelSHAP share this code.

    S( x with the superpixels z kept )  ~  b + sum_j z_j w_j,       map = w_j on superpixel j

S(x with the superpixels z kept) is the score of a copy of the image without the other superpixels.
SLIC cuts the image [achanta2012] with compactness 10 after a blur of 1 px, as in the papers; a grey image is treated as
a colour image with equal channels. SLIC may return fewer or more superpixels than requested, so every map records their
number. On a square image it makes one if two are requested, and four if three are; three is the minimum that a study may
request. A fit with fewer than two samples per superpixel is an error unless the study allows it, because its weights are
mostly chance. If SLIC leaves an image in one piece (a blank one), there is nothing to compare: no copies are made, the map
is zero everywhere, and its status is "degenerate".

    superpixels     their number
    fit             R2 of the linear model on its own weighted samples
    agreement_<m>   Spearman's rank correlation of the fits on two disjoint sets of m samples, m an eighth, a quarter, a
                    half of all: the expected agreement of two seeds with m samples. NaN if samples are not random.
                    Both are NaN for one superpixel.

Cost: a forward for each sample, batched over all images. An image is cut once for all methods of a bundle with the
same number of superpixels. Fits are done in double precision on the CPU.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from skimage.segmentation import slic
from torch import Generator, Tensor

from gradfaith.attribution.contract import ImageInputs, MapsWithDiagnostics
from gradfaith.errors import MethodUndefined

FloatArray = NDArray[np.float64]
Fill = Literal["mean", "grey"]
COMPACTNESS, BLUR, GREY = 10, 1, 0.5
MIN_SAMPLES_PER_SUPERPIXEL = 2


@dataclass(frozen=True)
class SuperpixelCopies:
    """The superpixels that each modified copy of one image keeps; the first copies are part of every fit."""

    kept: FloatArray  # (m, superpixels), of 0 and 1
    weights: FloatArray  # (m,)
    in_every_fit: int  # number of first copies that are part of every fit
    random: bool = True  # drawn at random; False: each subset of superpixels once

    def subset(self, rows: slice) -> tuple[FloatArray, FloatArray, NDArray[np.int_]]:
        """Return the copies of every fit and some others: kept superpixels, weights and indices."""
        chosen = np.r_[: self.in_every_fit, np.arange(self.in_every_fit, len(self.kept))[rows]]
        return self.kept[chosen], self.weights[chosen], chosen


NO_COPIES = SuperpixelCopies(np.empty((0, 1)), np.empty(0), in_every_fit=0)  # of an image of one superpixel

DrawCopies = Callable[[int, int, Generator], SuperpixelCopies]  # superpixels, samples
# kept, scores, weights -> the constant, then one weight per superpixel
FitWeights = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]


def explain_by_surrogate(
    inputs: ImageInputs,
    labels: Sequence[Tensor],
    samples: int,
    fill: Fill,
    draw: DrawCopies,
    fit: FitWeights,
    *,
    underdetermined: bool,
) -> MapsWithDiagnostics:
    """Return maps and diagnostics of a linear surrogate model.

    A map is NaN if there are too few samples per superpixel, and zero if there is one superpixel.

    `labels`: the superpixel of every pixel (h, w), per image. `draw` draws the copies, `fit` fits their scores.
    """
    all_copies = [
        draw(count, samples, generator) if (count := int(label.max()) + 1) > 1 else NO_COPIES
        for label, generator in zip(labels, inputs.generators, strict=True)
    ]
    maps, rows = [], []
    all_scores = _scores_of_copies(inputs, labels, all_copies, fill)
    for label, copies, scores in zip(labels, all_copies, all_scores, strict=True):
        weights = fit(copies.kept, scores, copies.weights) if len(scores) else np.zeros(2)
        enough = underdetermined or samples >= MIN_SAMPLES_PER_SUPERPIXEL * copies.kept.shape[1]
        maps.append(torch.from_numpy(weights[1:] if enough else np.full_like(weights[1:], np.nan))[label])
        rows.append(
            {"superpixels": float(copies.kept.shape[1]), "fit": _weighted_r2(weights, copies, scores)}
            | {
                f"agreement_{m}": _split_half_agreement(copies, scores, fit, m)
                for m in (samples // 8, samples // 4, samples // 2)
            }
        )
    diagnostics = {name: torch.tensor([row[name] for row in rows], device=inputs.images.device) for name in rows[0]}
    return MapsWithDiagnostics(torch.stack(maps).to(inputs.images), diagnostics)


def superpixel_labels(
    inputs: ImageInputs, segments: int, samples: int, underdetermined: bool
) -> list[Tensor]:  # each (h, w)
    """Return the superpixel of every pixel of each image; raise an error if there are too few samples for a fit."""
    if samples < MIN_SAMPLES_PER_SUPERPIXEL * segments and not underdetermined:
        raise MethodUndefined(
            problem=f"samples is {samples}, for images with about {segments} superpixels.",
            reason=f"With fewer than {MIN_SAMPLES_PER_SUPERPIXEL} samples per superpixel, the map depends mostly on the random seed.",
            fix=f"Set `samples` to at least {MIN_SAMPLES_PER_SUPERPIXEL * segments}, or set fewer `segments`, "
            "or set `allow_underdetermined: true`.",
        )
    return inputs.per_image(("superpixels", segments), partial(cut_superpixels, segments=segments))


def cut_superpixels(image: Tensor, segments: int) -> Tensor:  # (c, h, w) -> (h, w)
    """Cut one image into superpixels, on the CPU."""
    image = image.detach().cpu().double()
    colours = image.expand(3, -1, -1) if len(image) == 1 else image
    found = slic(colours.permute(1, 2, 0).numpy(), segments, COMPACTNESS, sigma=BLUR, start_label=0)
    _, flat = np.unique(found, return_inverse=True)  # consecutive numbers, even if a superpixel lost all its pixels
    return torch.from_numpy(flat.reshape(found.shape).astype(np.int64))


def _scores_of_copies(
    inputs: ImageInputs, labels: Sequence[Tensor], copies: Sequence[SuperpixelCopies], fill: Fill
) -> list[FloatArray]:
    """Return the scores of all copies of each image."""
    device, lengths = inputs.images.device, [len(own.kept) for own in copies]
    widest = max(own.kept.shape[1] for own in copies)
    table = np.concatenate([np.pad(own.kept, ((0, 0), (0, widest - own.kept.shape[1]))) for own in copies])
    kept = torch.from_numpy(table.astype(bool)).to(device)  # (m, widest)
    rows = torch.arange(len(lengths), device=device).repeat_interleave(torch.tensor(lengths, device=device))
    places = torch.stack(list(labels)).to(device)  # (n, h, w)
    without = _fill_superpixels(inputs.images, labels, fill)

    def changed(some: slice) -> Tensor:  # (m, c, h, w)
        own = rows[some]
        keep = kept[some].gather(1, places[own].flatten(1)).reshape(len(own), 1, *places.shape[1:])
        return torch.where(keep, inputs.images[own], without[own])

    scores = inputs.scores(changed, rows).cpu().double().numpy() if len(rows) else np.empty(0)
    return np.split(scores, np.cumsum(lengths)[:-1])


def _fill_superpixels(images: Tensor, labels: Sequence[Tensor], fill: Fill) -> Tensor:  # (n, c, h, w)
    """Return the images with every superpixel filled."""
    if fill == "grey":
        return torch.full_like(images, GREY)
    found = []
    for image, own in zip(images.detach().cpu().double(), labels, strict=True):
        number, flat = int(own.max()) + 1, own.flatten()
        sums = torch.zeros(len(image), number, dtype=torch.float64).index_add_(1, flat, image.flatten(1))
        found.append((sums / flat.bincount(minlength=number))[:, own])
    return torch.stack(found).to(images)


def _weighted_r2(found: FloatArray, copies: SuperpixelCopies, scores: FloatArray) -> float:
    """Return R2 on the copies that are not part of every fit."""
    weights, truth = copies.weights[copies.in_every_fit :], scores[copies.in_every_fit :]
    if not weights.sum():
        return float("nan")
    missed = truth - found[0] - copies.kept[copies.in_every_fit :] @ found[1:]
    spread = truth - np.average(truth, weights=weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(1 - (weights @ missed**2) / (weights @ spread**2))


def _split_half_agreement(copies: SuperpixelCopies, scores: FloatArray, fit: FitWeights, size: int) -> float:
    """Return Spearman's rank correlation of the fits on two disjoint sets of copies."""
    if not (copies.random and size and len(copies.kept)):
        return float("nan")
    pair = []
    for rows in (slice(size), slice(size, 2 * size)):
        kept, weights, chosen = copies.subset(rows)
        found = fit(kept, scores[chosen], weights)[1:]
        # Superpixels that are equal in all copies tie; rounding removes differences in the last digits.
        pair.append(rankdata(np.round(found / max(np.abs(found).max(), np.finfo(float).tiny), 9)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.corrcoef(pair)[0, 1])
