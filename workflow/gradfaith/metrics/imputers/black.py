"""Black: a removed pixel becomes 0.

In [0, 1] pixel space, before the model's normalisation: the fill of x * (1 - u). On CT black is air, also inside the
body, so a removed region is a hole that may not occur in the training images. Cost: none.
"""

import torch
from torch import Tensor

from gradfaith.metrics.contract import Context, Imputer

IMPUTER = Imputer(fill="black")


def fill(images: Tensor, _context: Context) -> Tensor:  # (m, c, h, w)
    return torch.zeros_like(images)
