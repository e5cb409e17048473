"""Grad-CAM: the weight of a channel is the average of its gradient over the grid.

    map = relu( sum_k mean(g_k) * a_k )                                     [selvaraju2017]

At a layer followed only by pooling and one linear layer, the mean gradient is that layer's weight divided by the number of
positions, so the map is CAM up to this factor. Elsewhere it is a first-order approximation of the channel's effect.
Cost: the forward and the short backward that the bundle shares.
"""

from torch import Tensor

from gradfaith.attribution.contract import Method, Tap

METHOD = Method(needs=("layer",), grid="native", signed=False, backwards=1, cite="selvaraju2017")


def attribute(tap: Tap) -> Tensor:  # (n, h, w)
    weights = tap.gradient.mean(dim=(2, 3), keepdim=True)  # (n, c, 1, 1)
    return (weights * tap.activation).sum(dim=1).relu()
