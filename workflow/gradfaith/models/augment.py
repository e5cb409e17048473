"""Random changes of training images: one affine resampling and one change of grey values for a whole batch.

    x'(u) = brightness * mean + contrast * (y(u) - mean),   y(u) = x(A u + shift),   A = mirror * rotation / zoom

Bilinear, the border repeated, the result cut to [0, 1]. The numbers are drawn on the CPU from the generator given, so
the stream is the same on every device. Cost: one `grid_sample`; nothing where a recipe switches all changes off.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from gradfaith.models.recipe import Recipe


def augment(images: Tensor, recipe: Recipe, generator: Generator) -> Tensor:
    """Changed copies of `images` (n, c, h, w) in [0, 1]."""
    n, _, height, width = images.shape
    # All numbers are drawn whatever is switched on: switching one change off leaves the others' streams alone.
    theta = affine(n, width / height, recipe, generator).to(images.device)
    brightness, contrast = (1 + recipe.contrast * _signed((2, n, 1, 1, 1), generator)).to(images.device)
    if recipe.flip or recipe.shift or recipe.rotate or recipe.scale:
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        images = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if recipe.contrast:
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = (brightness * mean + contrast * (images - mean)).clamp(0, 1)
    return images


def affine(n: int, aspect: float, recipe: Recipe, generator: Generator) -> Tensor:
    """Where each output position looks in its input, in [-1, 1] coordinates; `aspect` is width / height."""
    mirrored = torch.rand(n, generator=generator) < 0.5
    mirror = 1 - 2 * (mirrored & recipe.flip).float()
    angle = math.radians(recipe.rotate) * _signed((n,), generator)
    zoom = (1 + recipe.scale) ** _signed((n,), generator)
    shift = 2 * recipe.shift * _signed((n, 2, 1), generator)  # the side is 2 in these coordinates
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    rows = [torch.stack([mirror * cos, -mirror * sin / aspect], dim=1), torch.stack([sin * aspect, cos], dim=1)]
    return torch.cat([torch.stack(rows, dim=1), shift], dim=2)  # (n, 2, 3)


def _signed(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * 2 - 1  # in [-1, 1)
