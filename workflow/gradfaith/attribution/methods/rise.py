"""RISE: the mean score of randomly masked images in which a pixel is visible, compared with that of all masked images.

    map(p) = sum_i S(x * m_i) m_i(p) / sum_i m_i(p)  -  mean_i S(x * m_i)                               [petsiuk2018]

A mask has `grid` x `grid` cells, each visible with probability `keep`, enlarged bilinearly and shifted by a random part of a
cell. The original divides by the expected number of masks instead of their sum. With logits, whose level is arbitrary, this
would show how often a pixel happened to be visible. Subtracting the mean changes no ranking and makes the map signed:
positive where a visible pixel raises the score. Masked pixels are black, or have the mean grey. It reads scores only, so it
is defined for every network. captum has no such class; this is our own. Cost: a forward for each mask.
"""

from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from gradfaith.attribution.contract import ImageInputs, Method
from gradfaith.attribution.support.captum_adapter import baseline_images

METHOD = Method(
    needs=("image",),
    grid="input",
    signed=True,
    forwards="masks",
    seeded=True,
    cite="petsiuk2018",
    differs="divided by the sum of the masks, minus the mean score of all masked images",
    limits=("masks >= 1", "grid >= 2", "0 < keep < 1"),
)


def attribute(
    inputs: ImageInputs,
    *,
    masks: int = 1000,
    grid: int = 7,
    keep: float = 0.5,
    fill: Literal["black", "mean"] = "black",
) -> Tensor:  # (n, h, w)
    covers = baseline_images(inputs, fill)
    rows = range(len(covers))
    return torch.stack([_attribute_one(inputs, row, covers[row], masks, grid, keep) for row in rows])


def _attribute_one(
    inputs: ImageInputs, row: int, cover: Tensor, masks: int, grid: int, keep: float
) -> Tensor:  # (h, w)
    image = inputs.images[row]
    drawn = RandomMasks(masks, grid, keep, (image.shape[1], image.shape[2]), inputs.generators[row])
    rows = torch.full((masks,), row, device=image.device)
    scores = inputs.scores(lambda some: torch.lerp(cover, image, drawn.build(some, image)[:, None]), rows)
    visible, seen = torch.zeros_like(image[0]), torch.zeros_like(image[0])
    for start in range(0, masks, inputs.rows_at_once):  # masks are built again, because they never all exist at once
        some = slice(start, min(start + inputs.rows_at_once, masks))
        built = drawn.build(some, image)
        seen += torch.einsum("m,mhw->hw", (scores[some] - scores.mean()).to(image.dtype), built)
        visible += built.sum(dim=0)
    return seen / visible.clamp(min=torch.finfo(image.dtype).tiny)


class RandomMasks:
    """The masks of one image: all drawn at once, each enlarged when it is needed."""

    def __init__(self, count: int, grid: int, keep: float, size: tuple[int, int], generator: Generator) -> None:
        self._size = size
        self._cell = [-(-side // grid) for side in size]  # rounded up
        self._cells = (torch.rand((count, 1, grid, grid), generator=generator) < keep).float()
        self._shifts = [torch.randint(cell, (count,), generator=generator).tolist() for cell in self._cell]

    def build(self, some: slice, like: Tensor) -> Tensor:  # (m, h, w)
        """Return some of the masks, on the device and in the precision of a tensor."""
        cells, (height, width) = self._cells[some].to(like), self._size
        enlarged = [(side + 1) * cell for side, cell in zip(cells.shape[2:], self._cell, strict=True)]
        wide = interpolate(cells, enlarged, mode="bilinear", align_corners=False)[:, 0]
        corners = zip(*(shift[some] for shift in self._shifts), strict=True)
        shifted = zip(wide, corners, strict=True)
        return torch.stack([mask[top : top + height, left : left + width] for mask, (top, left) in shifted])
