"""Cut images into superpixels, fill them, and attribute scores to them: one by one, or by a linear model.

SLIC cuts the image [achanta2012] with compactness 10 after a blur of 1 px, as in the papers; a grey image is treated as
a colour image with equal channels. SLIC may return fewer or more superpixels than requested, so every map records their
number. On a square image it makes one if two are requested, and four if three are; three is the minimum that a study may
request. If SLIC leaves an image in one piece (a blank one), there is nothing to compare: no pass is made, the map is zero
everywhere, and its status is "degenerate". A removed superpixel is filled with its own mean, or with mid grey. An image is
cut once for all methods of a bundle with the same number of superpixels.

LIME and KernelSHAP explain scores by a linear model over superpixels:

    S( x with the superpixels z kept )  ~  b + sum_j z_j w_j,       map = w_j on superpixel j

S(x with the superpixels z kept) is the score of a copy of the image without the other superpixels. captum's Lime and
KernelShap build the copies and ask for their scores, one image at a time; which copies and which fit are the method's own.
captum hands scores on in single precision; fits are done in double precision on the CPU. A fit with fewer than two samples per
superpixel is an error unless the study allows it, because its weights are mostly chance.

    superpixels     their number
    fit             R2 of the linear model on its own weighted samples
    agreement_<m>   Spearman's rank correlation of the fits on two disjoint sets of m samples, m an eighth, a quarter, a
                    half of all: the expected agreement of two seeds with m samples. NaN if samples are not random.
                    Both are NaN for one superpixel.

Cost: a forward for each sample.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from skimage.segmentation import slic
from torch import Generator, Tensor

from gradfaith.attribution.contract import ImageInputs, MapsWithDiagnostics
from gradfaith.attribution.support.captum_adapter import on_scores, rows_of
from gradfaith.errors import MethodUndefined

FloatArray = NDArray[np.float64]
MIN_SAMPLES_PER_SUPERPIXEL = 2
Fill = Literal["mean", "grey"]
COMPACTNESS, BLUR, GREY = 10, 1, 0.5
ScoreKept = Callable[[Tensor], Tensor]  # which superpixels copies of one image keep (m, superpixels) -> scores (m,)
# The row of an image, the scores of its copies, the full copy (1, superpixels) -> the superpixels' values (1, superpixels).
Attribute = Callable[[int, ScoreKept, Tensor], Tensor]


def attribute_superpixels(inputs: ImageInputs, segments: int, fill: Fill, attribute: Attribute) -> MapsWithDiagnostics:
    """Return the maps of a function that attributes the score of one image to its superpixels."""
    labels = [own.to(inputs.images.device) for own in superpixel_labels(inputs, segments)]
    filled, maps, counts = fill_superpixels(inputs.images, [own.cpu() for own in labels], fill), [], []
    for row, own in enumerate(labels):
        full = inputs.images.new_ones(1, int(own.max()) + 1)
        scores = partial(_score_kept, inputs, row, filled[row], own)
        found = attribute(row, scores, full) if full.shape[1] > 1 else full * 0
        maps.append(found[0][own])
        counts.append(float(full.shape[1]))
    diagnostics = {"superpixels": torch.tensor(counts, device=inputs.images.device)}
    return MapsWithDiagnostics(torch.stack(maps).to(inputs.images.dtype), diagnostics)


def _score_kept(inputs: ImageInputs, row: int, filled: Tensor, labels: Tensor, kept: Tensor) -> Tensor:  # (m,)
    def build(some: slice) -> Tensor:  # (m, c, h, w)
        return torch.where(kept[some].bool()[:, None, labels], inputs.images[row], filled)

    return inputs.scores(build, torch.full((len(kept),), row, device=kept.device))


def superpixel_labels(inputs: ImageInputs, segments: int) -> list[Tensor]:  # each (h, w)
    """Return the superpixel of every pixel of each image."""
    return inputs.per_image(("superpixels", segments), partial(cut_superpixels, segments=segments))


def cut_superpixels(image: Tensor, segments: int) -> Tensor:  # (c, h, w) -> (h, w)
    """Cut one image into superpixels, on the CPU."""
    image = image.detach().cpu().double()
    colours = image.expand(3, -1, -1) if len(image) == 1 else image
    found = slic(colours.permute(1, 2, 0).numpy(), segments, COMPACTNESS, sigma=BLUR, start_label=0)
    _, flat = np.unique(found, return_inverse=True)  # consecutive numbers, even if a superpixel lost all its pixels
    return torch.from_numpy(flat.reshape(found.shape).astype(np.int64))


def fill_superpixels(images: Tensor, labels: Sequence[Tensor], fill: Fill) -> Tensor:  # (n, c, h, w)
    """Return the images with every superpixel filled."""
    if fill == "grey":
        return torch.full_like(images, GREY)
    found = []
    for image, own in zip(images.detach().cpu().double(), labels, strict=True):
        number, flat = int(own.max()) + 1, own.flatten()
        sums = torch.zeros(len(image), number, dtype=torch.float64).index_add_(1, flat, image.flatten(1))
        found.append((sums / flat.bincount(minlength=number))[:, own])
    return torch.stack(found).to(images)


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
    engine: Literal["Lime", "KernelShap"],
    inputs: ImageInputs,
    labels: Sequence[Tensor],
    samples: int,
    fill: Fill,
    draw: DrawCopies,
    fit: FitWeights,
    *,
    underdetermined: bool,
) -> MapsWithDiagnostics:
    """Return maps and diagnostics of a linear surrogate model, computed by one of captum's classes.

    A map is NaN if there are too few samples per superpixel, and zero if there is one superpixel.

    `labels`: the superpixel of every pixel (h, w), per image. `draw` draws the copies, `fit` fits their scores.
    """
    maps, rows, filled = [], [], fill_superpixels(inputs.images, labels, fill)
    for row, (label, generator) in enumerate(zip(labels, inputs.generators, strict=True)):
        count = int(label.max()) + 1
        model = _LinearModel(draw(count, samples, generator) if count > 1 else NO_COPIES, fit)
        if count > 1:
            _run_captum(on_scores(engine, inputs), model, inputs, row, filled[[row]], label)
        enough = underdetermined or samples >= MIN_SAMPLES_PER_SUPERPIXEL * count
        weights = model.found[1:] if enough else np.full(count, np.nan)
        maps.append(torch.from_numpy(weights)[label])
        rows.append(model.diagnostics(samples))
    diagnostics = {name: torch.tensor([row[name] for row in rows], device=inputs.images.device) for name in rows[0]}
    return MapsWithDiagnostics(torch.stack(maps).to(inputs.images), diagnostics)


def require_samples(segments: int, samples: int, underdetermined: bool) -> None:
    """Raise an error if there are too few samples for a fit."""
    if samples < MIN_SAMPLES_PER_SUPERPIXEL * segments and not underdetermined:
        raise MethodUndefined(
            problem=f"samples is {samples}, for images with about {segments} superpixels.",
            reason=f"With fewer than {MIN_SAMPLES_PER_SUPERPIXEL} samples per superpixel, the map depends mostly on the random seed.",
            fix=f"Set `samples` to at least {MIN_SAMPLES_PER_SUPERPIXEL * segments}, or set fewer `segments`, "
            "or set `allow_underdetermined: true`.",
        )


class _LinearModel:
    """The interpretable model that captum fits: the method's own fit of the method's own copies."""

    def __init__(self, copies: SuperpixelCopies, fit: FitWeights) -> None:
        self.copies, self._fit = copies, fit
        self.scores, self.found = np.empty(0), np.zeros(2)  # the constant, then one weight per superpixel

    def fit(self, samples: Any, **_words: object) -> None:
        """Fit the scores of captum's data set of copies, scores and weights; only the scores are new to us."""
        self.scores = samples.dataset.tensors[1].cpu().double().numpy()
        self.found = self._fit(self.copies.kept, self.scores, self.copies.weights)

    def representation(self) -> Tensor:
        return torch.from_numpy(self.found[1:])

    def diagnostics(self, samples: int) -> dict[str, float]:
        sizes = (samples // 8, samples // 4, samples // 2)
        agreements = {f"agreement_{m}": _split_half_agreement(self.copies, self.scores, self._fit, m) for m in sizes}
        fit = _weighted_r2(self.found, self.copies, self.scores)
        return {"superpixels": float(self.copies.kept.shape[1]), "fit": fit} | agreements


def _run_captum(method: Any, model: _LinearModel, inputs: ImageInputs, row: int, filled: Tensor, label: Tensor) -> None:
    """Fit the model with captum's Lime or KernelShap, whose own draws, weights and fit are replaced."""
    kept = torch.from_numpy(model.copies.kept.astype(bool)).to(filled.device)[:, None]
    weights = iter(model.copies.weights.tolist())

    def draw(_image: Tensor, **_words: object) -> Iterator[Tensor]:  # captum requires a generator function
        yield from kept

    method.interpretable_model, method.perturb_func = model, draw
    method.similarity_func = lambda *_given, **_words: next(weights)
    method.attribute(
        inputs.images[[row]], filled, feature_mask=label[None, None].to(filled.device), n_samples=len(kept),
        perturbations_per_eval=inputs.rows_at_once, return_input_shape=False, **rows_of(inputs, row),
    )  # fmt: skip


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
