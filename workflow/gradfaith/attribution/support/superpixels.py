"""Cut images into superpixels, fill them, and attribute scores to them.

SLIC cuts the image [achanta2012] with compactness 10 after a blur of 1 px, as in the papers; a grey image is treated as
a colour image with equal channels. SLIC may return fewer or more superpixels than requested, so every map records their
number. On a square image it makes one if two are requested, and four if three are; three is the minimum that a study may
request. If SLIC leaves an image in one piece (a blank one), there is nothing to compare: no pass is made, the map is zero
everywhere, and its status is "degenerate". A removed superpixel is filled with its own mean, or with mid grey. An image is
cut once for all methods of a bundle with the same number of superpixels.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np
import torch
from skimage.segmentation import slic
from torch import Tensor

from gradfaith.attribution.contract import ImageInputs, MapsWithDiagnostics

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
