"""Noisy linear (ROAD): a removed pixel becomes the weighted mean of all its neighbours, plus a little noise.

    fill = x + noise * e    where keep < 1/2:  x_i = sum_j w_ij x_j,  w = 1/6 beside, 1/12 across,  e ~ N(0, 1)      [rong2022]
    fill = image            elsewhere

A model cannot recognise from such an image which pixels were removed, as it can if they turn black; this is its purpose.
`e` is drawn per channel, on the CPU, from (key, change, image): all methods share it, independent of batch, order and
device.

Differences: the authors and grad-cam work on the normalised tensor. Here the noise is in pixel space, and clipped to
[0, 1]. An image without any kept pixel has no neighbours to use (grad-cam's system is then singular): it becomes the mean
of the training images plus the noise. If a metric keeps a share of a pixel, a share below one half counts as removed.

Cost of one image at 224 px, relative to a resnet18 forward on a busy machine: 0.24-0.28 if it is grey, 0.65 in
colour (`benchmarks/road.py`).
"""

import torch
from torch import Generator, Tensor

from gradfaith import rng
from gradfaith.errors import StudyInvalid
from gradfaith.metrics.contract import Context, Imputer
from gradfaith.metrics.imputers import harmonic, mean

IMPUTER = Imputer(
    fill="the weighted mean of its neighbours, with noise",
    seeded=True,
    cite="rong2022",
    limits=("noise >= 0", "0 < tolerance < 1"),
)


def fill(images: Tensor, context: Context, *, noise: float = 0.01, tolerance: float = 1e-4) -> Tensor:  # (m, c, h, w)
    keep = context.keep >= 0.5  # (m, h, w)
    blank = ~keep.flatten(1).any(dim=1)[:, None, None]  # (m, 1, 1)
    filled = harmonic.solve(images, keep | blank, tolerance=tolerance)
    if bool(blank.any()):
        filled = torch.where(blank[:, None], mean.fill(images, context), filled)
    if noise > 0:
        noisy = torch.add(filled, _draw(images, context), alpha=noise).clamp(0, 1)
        filled = torch.where(keep[:, None], filled, noisy)
    return filled


def _draw(images: Tensor, context: Context) -> Tensor:  # (m, c, h, w)
    """Return standard normal numbers, drawn once per image for all methods."""
    if len(context.image_ids) != len(images):
        raise StudyInvalid(
            problem=f"noise is needed for {len(images)} images, but {len(context.image_ids)} image ids are given.",
            reason="The noise of an image is drawn from its id, so that it does not depend on batch or order.",
            fix="Give the masking runner `image_ids`, one per image, or set the option noise of noisy_linear to 0.",
        )
    size, key = images.shape[1:], (*context.key, "noisy_linear", context.change)
    streams = {name: Generator().manual_seed(rng.seed(*key, name)) for name in context.image_ids}
    drawn = {name: torch.randn(size, generator=stream) for name, stream in streams.items()}
    return torch.stack([drawn[name] for name in context.image_ids]).to(images)
