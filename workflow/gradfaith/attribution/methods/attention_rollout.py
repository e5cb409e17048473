"""Attention rollout: the share of each patch in the token that the classifier reads, if attention only mixes tokens.

    A_b = 0.5 fuse_h(A_bh) + 0.5 I, its rows divided by their sums          block b, head h; 0.5 I is the residual path
    map = the read token's row of A_B ... A_2 A_1, at the patches                             [abnar2020]

Values, MLPs and the class are not used, so the map is the same for every class. `heads` is how heads are fused: the mean,
as in the paper, or max or min. If the head reads the mean of the patches, the row is the mean of the patches' rows; with a
distillation token, the mean of both rows. Only this row is multiplied through the blocks, from the last one down. Cost: a
forward with plain attention, which the attention methods of a bundle share.
"""

from typing import Literal

from torch import Tensor

from gradfaith.attribution.contract import Attention, Method

METHOD = Method(
    needs=("attention",),
    requires=("attention",),
    grid="native",
    signed=False,
    forwards=1,
    targeted=False,
    cite="abnar2020",
    differs="also for heads that read the mean of the patches, or a distillation token: the mean of the rows that are read",
)


def attribute(attention: Attention, *, heads: Literal["mean", "max", "min"] = "mean") -> Tensor:  # (n, h, w)
    row = attention.read_weights()  # (1, t), then (n, t)
    for weights in reversed(attention.weights):
        fused = _fused(weights, heads)
        through = row / (1 + fused.sum(dim=2))  # 0.5 of both, over the row's sum
        row = through + (through[:, None] @ fused)[:, 0]
    return attention.patch_grid(row)


def _fused(weights: Tensor, heads: str) -> Tensor:  # (n, heads, t, t) -> (n, t, t)
    if heads == "mean":
        return weights.mean(dim=1)
    return weights.amax(dim=1) if heads == "max" else weights.amin(dim=1)
