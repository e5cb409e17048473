"""Black: a removed pixel becomes 0.

In [0, 1] pixel space, before the model's normalisation: the fill of x * (1 - u). On CT it is air, outside and
inside the body, so a removed region is a hole the model may never have seen. Cost: none.
"""

import torch
from torch import Tensor

from gradfaith.metrics.contract import Context, Imputer

IMPUTER = Imputer(fill="black")


def fill(images: Tensor, _context: Context) -> Tensor:  # (m, c, h, w)
    return torch.zeros_like(images)
