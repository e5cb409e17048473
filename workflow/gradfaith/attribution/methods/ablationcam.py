"""Ablation-CAM: a channel weighs by how far the score falls when it is set to zero.

    map = relu( sum_k (S - S_k) * a_k )             S_k: the score with channel k of the layer at zero      [desai2020]

The original divides by S, which changes no map after scaling except where the score is negative: there it turns the map
around. We leave the division out. Some code ablates to a value far below the channel's minimum, where activations can be
negative; zero is what the paper says.
Cost: one forward of the image, and one of the head alone for each channel.
"""

import torch
from torch import Tensor

from gradfaith.attribution.contract import HeadInputs, Method, Tap

METHOD = Method(
    needs=("layer", "head"),
    grid="native",
    signed=False,
    forwards=1,
    head_passes="channels",
    cite="desai2020",
    differs="weights are S - S_k, not divided by S",
)


def attribute(tap: Tap, head: HeadInputs) -> Tensor:  # (n, h, w)
    drops = torch.stack([score - _ablated(head, tap.activation, row) for row, score in enumerate(tap.score)])
    return (drops[:, :, None, None] * tap.activation).sum(dim=1).relu()


def _ablated(head: HeadInputs, activation: Tensor, row: int) -> Tensor:  # (c,)
    """The score without each of the channels."""
    own = activation[row]

    def without(some: slice) -> Tensor:  # (m, c, h, w)
        channels = torch.arange(some.start, some.stop, device=own.device)
        changed = own.repeat(len(channels), 1, 1, 1)
        changed[torch.arange(len(channels), device=own.device), channels] = 0
        return changed

    return head.scores(row, len(own), without)
