"""XGrad-CAM: gradients are averaged with the activation's own distribution over the grid.

    map = relu( sum_k w_k * a_k ),   w_k = sum_ij (a_ij / sum(a_k)) * g_ij                          [fu2020]

The weights are chosen so that the score splits over the channels, and drops by a channel's share if it is removed, as nearly
as one weight per channel allows. This is exact if the following layers are linear. The distribution exists only for a >= 0: a
channel whose positive and negative activations cancel (to 1e-4) has none, and its weight is zero.
Cost: the forward and the short backward that the bundle shares.
"""

from torch import Tensor

from gradfaith.attribution.contract import Method, Tap

METHOD = Method(
    needs=("layer",),
    grid="native",
    signed=False,
    backwards=1,
    cite="fu2020",
    differs="no small number in the denominator; channels whose activations cancel weigh nothing",
)
CANCELLED = 1e-4


def attribute(tap: Tap) -> Tensor:  # (n, h, w)
    whole = tap.activation.sum(dim=(2, 3), keepdim=True)
    there = whole.abs() > CANCELLED * tap.activation.abs().sum(dim=(2, 3), keepdim=True)
    part = (tap.gradient * tap.activation).sum(dim=(2, 3), keepdim=True)
    weights = there * part / whole.where(there, whole.new_ones(()))  # (n, c, 1, 1)
    return (weights * tap.activation).sum(dim=1).relu()
