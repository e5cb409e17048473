"""Ablation-CAM: the weight of a channel is the drop of the score when the channel is set to zero.

    map = relu( sum_k (S - S_k) * a_k )             S_k: the score with channel k of the layer at zero      [desai2020]

The original divides by S. That changes no scaled map, except where the score is negative: there it reverses the map. We do
not divide. Some code sets a channel to a value far below its minimum, because activations can be negative; the paper uses
zero, and so do we.
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
    """Return the score without each of the channels."""
    own = activation[row]

    def without(some: slice) -> Tensor:  # (m, c, h, w)
        channels = torch.arange(some.start, some.stop, device=own.device)
        changed = own.repeat(len(channels), 1, 1, 1)
        changed[torch.arange(len(channels), device=own.device), channels] = 0
        return changed

    return head.scores(row, len(own), without)
