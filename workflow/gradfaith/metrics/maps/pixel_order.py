"""The order a map puts the pixels in, from the most relevant to the least: total, and the same for every share.

    key of a pixel = (its value, a random number of the image's own)

Ties are broken by the random number, which all maps of an image share, so that exactly round(share * N) pixels are removed
whatever the map. A percentile threshold would take all tied pixels at once: of a map that is 90 % zero, nine tenths of the
image at every share. The least relevant first is the same order, backwards. Cost: two sorts per map, once for all metrics.
"""

import torch
from torch import Tensor

from gradfaith.metrics.contract import Removal


def ranks(unit: Tensor, ties: Tensor) -> Tensor:  # (m, h, w), (m, h, w) -> (m, h, w)
    """0 for the most relevant pixel, N - 1 for the least."""
    lot = ties.flatten(1).argsort(dim=1)
    order = lot.gather(1, unit.flatten(1).gather(1, lot).argsort(dim=1, descending=True, stable=True))
    place = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, place).reshape(unit.shape)


def kept(rank: Tensor, removal: Removal) -> Tensor:  # (m, h, w) -> (m, h, w) in {0, 1}
    """Where a pixel stays when a share is removed."""
    pixels = rank.shape[1] * rank.shape[2]
    count = round(removal.share * pixels)
    stays = rank >= count if removal.order == "most" else rank < pixels - count
    return stays.float()


def tied(unit: Tensor) -> Tensor:  # (m, h, w) -> (m,)
    """The share of pixels whose value another pixel has, too."""
    values = unit.flatten(1).sort(dim=1).values
    same = values[:, 1:] == values[:, :-1]
    edge = torch.zeros_like(same[:, :1])
    return (torch.cat([same, edge], dim=1) | torch.cat([edge, same], dim=1)).float().mean(dim=1)
