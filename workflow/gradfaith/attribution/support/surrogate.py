"""What LIME and KernelSHAP share: superpixels, copies of the image without some of them, a linear model of the scores.

    S( x with the superpixels z kept )  ~  b + sum_j z_j w_j,       map = w_j on superpixel j

SLIC cuts the image [achanta2012] with compactness 10 after a blur of 1 px, as in the papers; a grey image as the colour image
it looks like. It is free to make fewer or more superpixels than asked for, so their number is noted with every map. A fit
with fewer than two samples per superpixel is refused unless it is asked for: its weights are mostly chance.

    superpixels     how many there are
    fit             R2 of the linear model on its own samples, weighted as they were
    agreement_<m>   Spearman's rank correlation of the fits on two disjoint sets of m samples, m an eighth, a quarter, a half
                    of all: what two seeds of m samples would give. No value where nothing is drawn.

Cost: a forward for each sample, in one stream over all images. An image is cut once for all methods of a bundle that ask for
as many superpixels. Fits are done in double precision on the CPU.
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

from gradfaith.attribution.contract import Asked, Noted
from gradfaith.errors import MethodUndefined

Numbers = NDArray[np.float64]
Fill = Literal["mean", "grey"]
COMPACTNESS, BLUR, GREY = 10, 1, 0.5
PER_SUPERPIXEL = 2  # samples, at least


@dataclass(frozen=True)
class Copies:
    """Which superpixels each changed copy of one image keeps; the first few copies belong to every fit."""

    kept: Numbers  # (m, superpixels), of 0 and 1
    weights: Numbers  # (m,)
    always: int  # so many of the first
    drawn: bool = True  # at random, not one of each kind

    def only(self, rows: slice) -> tuple[Numbers, Numbers, NDArray[np.int_]]:
        """Some of the drawn copies, after those that are always there: what they keep, their weights, their numbers."""
        chosen = np.r_[: self.always, np.arange(self.always, len(self.kept))[rows]]
        return self.kept[chosen], self.weights[chosen], chosen


Draw = Callable[[int, int, Generator], Copies]  # superpixels, samples
Fit = Callable[[Numbers, Numbers, Numbers], Numbers]  # kept, scores, weights -> the constant, then one per superpixel


def explained(
    asked: Asked, labels: Sequence[Tensor], samples: int, fill: Fill, draw: Draw, fit: Fit, *, underdetermined: bool
) -> Noted:
    """Maps and notes of a surrogate, from how it draws copies and how it fits; of too many superpixels, no map."""
    copies = [
        draw(int(own.max()) + 1, samples, generator) for own, generator in zip(labels, asked.generators, strict=True)
    ]
    maps, notes = [], []
    for own, some, scores in zip(labels, copies, _answers(asked, labels, copies, fill), strict=True):
        found = fit(some.kept, scores, some.weights)
        enough = underdetermined or samples >= PER_SUPERPIXEL * some.kept.shape[1]
        maps.append(torch.from_numpy(found[1:] if enough else np.full_like(found[1:], np.nan))[own])
        notes.append(
            {"superpixels": float(some.kept.shape[1]), "fit": _r2(found, some, scores)}
            | {f"agreement_{m}": _agreement(some, scores, fit, m) for m in (samples // 8, samples // 4, samples // 2)}
        )
    kept = {name: torch.tensor([note[name] for note in notes], device=asked.images.device) for name in notes[0]}
    return Noted(torch.stack(maps).to(asked.images), kept)


def superpixels(asked: Asked, segments: int, samples: int, underdetermined: bool) -> list[Tensor]:  # each (h, w)
    """The number of its superpixel for every pixel of each image; refused where samples are too few to fit."""
    if samples < PER_SUPERPIXEL * segments and not underdetermined:
        raise MethodUndefined(
            found=f"{samples} samples are asked for, of images of about {segments} superpixels.",
            why=f"With fewer than {PER_SUPERPIXEL} samples for each, the weights are mostly chance: another seed, another map.",
            then=f"Ask for at least {PER_SUPERPIXEL * segments} `samples` or fewer `segments`, "
            "or set `allow_underdetermined: true`.",
        )
    return asked.each(("superpixels", segments), partial(cut, segments=segments))


def cut(image: Tensor, segments: int) -> Tensor:  # (c, h, w) -> (h, w)
    """One image into superpixels, on the CPU."""
    image = image.detach().cpu().double()
    colours = image.expand(3, -1, -1) if len(image) == 1 else image
    found = slic(colours.permute(1, 2, 0).numpy(), segments, COMPACTNESS, sigma=BLUR, start_label=0)
    _, flat = np.unique(found, return_inverse=True)  # in case one lost all its pixels
    return torch.from_numpy(flat.reshape(found.shape).astype(np.int64))


def _answers(asked: Asked, labels: Sequence[Tensor], copies: Sequence[Copies], fill: Fill) -> list[Numbers]:
    """The scores of all copies of each image."""
    device, lengths = asked.images.device, [len(own.kept) for own in copies]
    widest = max(own.kept.shape[1] for own in copies)
    table = np.concatenate([np.pad(own.kept, ((0, 0), (0, widest - own.kept.shape[1]))) for own in copies])
    kept = torch.from_numpy(table.astype(bool)).to(device)  # (m, widest)
    rows = torch.arange(len(lengths), device=device).repeat_interleave(torch.tensor(lengths, device=device))
    places = torch.stack(list(labels)).to(device)  # (n, h, w)
    without = _filled(asked.images, labels, fill)

    def changed(some: slice) -> Tensor:  # (m, c, h, w)
        own = rows[some]
        keep = kept[some].gather(1, places[own].flatten(1)).reshape(len(own), 1, *places.shape[1:])
        return torch.where(keep, asked.images[own], without[own])

    scores = asked.scores(changed, rows).cpu().double().numpy()
    return np.split(scores, np.cumsum(lengths)[:-1])


def _filled(images: Tensor, labels: Sequence[Tensor], fill: Fill) -> Tensor:  # (n, c, h, w)
    """The images with no superpixel kept."""
    if fill == "grey":
        return torch.full_like(images, GREY)
    found = []
    for image, own in zip(images.detach().cpu().double(), labels, strict=True):
        number, flat = int(own.max()) + 1, own.flatten()
        sums = torch.zeros(len(image), number, dtype=torch.float64).index_add_(1, flat, image.flatten(1))
        found.append((sums / flat.bincount(minlength=number))[:, own])
    return torch.stack(found).to(images)


def _r2(found: Numbers, copies: Copies, scores: Numbers) -> float:
    """Of the copies that are not in every fit."""
    weights, truth = copies.weights[copies.always :], scores[copies.always :]
    if not weights.sum():
        return float("nan")
    missed = truth - found[0] - copies.kept[copies.always :] @ found[1:]
    spread = truth - np.average(truth, weights=weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(1 - (weights @ missed**2) / (weights @ spread**2))


def _agreement(copies: Copies, scores: Numbers, fit: Fit, size: int) -> float:
    """Spearman's rank correlation of the fits on two disjoint sets of copies."""
    if not (copies.drawn and size):
        return float("nan")
    pair = []
    for rows in (slice(size), slice(size, 2 * size)):
        kept, weights, chosen = copies.only(rows)
        found = fit(kept, scores[chosen], weights)[1:]
        # Superpixels that no copy tells apart tie, whatever the last digits say.
        pair.append(rankdata(np.round(found / max(np.abs(found).max(), np.finfo(float).tiny), 9)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.corrcoef(pair)[0, 1])
