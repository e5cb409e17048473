"""Grad-CAM++: channel weights from positive gradients, with larger factors for small activated regions.

    map = relu( sum_k w_k * a_k ),   w_k = sum_ij alpha_ij relu(g_ij),   alpha_ij = 1 / (2 + g_ij * sum(a_k))
                                                                                    [chattopadhay2018]
The original divides g^2 by 2 g^2 + g^3 sum(a). With g^2 cancelled no small number is needed in the denominator; in common
code that number decides the map where gradients are small. The derivation assumes an exponential class score and positive
activations. For negative activations the denominator can reach zero; such a position has weight zero.
Cost: the forward and the short backward that the bundle shares.
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
