"""Grad-CAM++: channels weigh by their positive gradients, each position by how few of its kind there are.

    map = relu( sum_k w_k * a_k ),   w_k = sum_ij alpha_ij relu(g_ij),   alpha_ij = 1 / (2 + g_ij * sum(a_k))
                                                                                    [chattopadhay2018]
The original divides g^2 by 2 g^2 + g^3 sum(a); with g^2 cancelled there is nothing left to guard by a small number, which
in common code decides the map wherever gradients are small. The derivation takes the class score as an exponential and
activations as positive. Where activations are negative the denominator can reach zero; such a position weighs nothing.
Cost: the forward and the short backward the bundle shares.
"""

from torch import Tensor

from gradfaith.attribution.contract import Method, Tap

METHOD = Method(
    needs=("layer",),
    grid="native",
    signed=False,
    backwards=1,
    cite="chattopadhay2018",
    differs="no small number in the denominator; positions whose denominator is not positive weigh nothing",
)


def attribute(tap: Tap) -> Tensor:  # (n, h, w)
    positive = tap.gradient.relu()
    below = 2 + tap.gradient * tap.activation.sum(dim=(2, 3), keepdim=True)
    alpha = (below > 0) / below.where(below > 0, below.new_ones(()))
    weights = (alpha * positive).sum(dim=(2, 3), keepdim=True)  # (n, c, 1, 1)
    return (weights * tap.activation).sum(dim=1).relu()
