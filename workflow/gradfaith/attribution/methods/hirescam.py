"""HiResCAM: activation times gradient at every position, without averaging the gradient.

    map = relu( sum_k g_k * a_k )                                           [draelos2020]

If one linear layer follows (with or without pooling), the unclipped map sums to the logit without its bias. So it shows
which positions the class was computed from; Grad-CAM's average can highlight positions that were not used.
Cost: the forward and the short backward that the bundle shares.
"""

from torch import Tensor

from gradfaith.attribution.contract import Method, Tap

METHOD = Method(needs=("layer",), grid="native", signed=False, backwards=1, cite="draelos2020")


def attribute(tap: Tap) -> Tensor:  # (n, h, w)
    return (tap.gradient * tap.activation).sum(dim=1).relu()
