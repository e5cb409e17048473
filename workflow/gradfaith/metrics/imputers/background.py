"""Background: a removed pixel becomes the image's own background: the median of its outermost ring, per channel.

On CT this is the air around the patient or the scanner's padding: a value that occurs in every image, unlike an arbitrary
grey. It equals black if the ring is black. Cost: a median of the border pixels.
"""

import torch
from torch import Tensor

from gradfaith.metrics.contract import Context, Imputer

IMPUTER = Imputer(fill="the image's own background")


def fill(images: Tensor, _context: Context) -> Tensor:  # (m, c, h, w)
    ring = torch.cat(
        [images[:, :, 0], images[:, :, -1], images[:, :, 1:-1, 0], images[:, :, 1:-1, -1]], dim=2
    )  # (m, c, 2 h + 2 w - 4)
    return ring.median(dim=2).values[:, :, None, None].expand_as(images)
