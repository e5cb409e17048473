"""Gradient attention: rollout for a class, with each head weighted by how much its attention raises the score.

    A_b = mean_h relu( dS/dA_bh * A_bh )
    R = (I + A_B) ... (I + A_2)(I + A_1);   map = the read token's row of R, at the patches             [chefer2021]

This is the paper's rule for networks of self-attention only: R <- R + A_b R from R = I. dS/dA_bh is total, through all
later blocks. If the head reads the mean of the patches, the row is the mean of the patches' rows (I then adds the same to
every patch); with a distillation token, the mean of both rows. Only this row is multiplied through the blocks, from the last
one down. Cost: a forward with plain attention and a backward to the first block; the bundle's attention methods share both.
"""

from torch import Tensor

from gradfaith.attribution.contract import Attention, Method

METHOD = Method(
    needs=("attention",),
    requires=("attention",),
    grid="native",
    signed=False,
    forwards=1,
    backwards=1,
    cite="chefer2021",
    differs="also for heads that read the mean of the patches, or a distillation token: the mean of the rows that are read",
)


def attribute(attention: Attention) -> Tensor:  # (n, h, w)
    row = attention.read_weights().expand(len(attention.weights[0]), -1)  # (n, t)
    for weights, gradient in zip(reversed(attention.weights), reversed(attention.gradients()), strict=True):
        raised = (weights * gradient).relu().mean(dim=1)  # (n, t, t)
        row = row + (row[:, None] @ raised)[:, 0]
    return attention.patch_grid(row)
