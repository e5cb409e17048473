"""LayerCAM: each activation is weighted by its own positive gradient.

    map = relu( sum_k relu(g_k) * a_k )                                     [jiang2021]

Unlike in Grad-CAM, gradients are not averaged over the grid, so early layers keep their detail. The XAI report writes
relu(g * a), which is the same only where a >= 0 (not after SiLU, GELU or LayerNorm); we follow the original.
Cost: the forward and the short backward that the bundle shares.
"""

from torch import Tensor

from gradfaith.attribution.contract import Method, Tap

METHOD = Method(needs=("layer",), grid="native", signed=False, backwards=1, cite="jiang2021")


def attribute(tap: Tap) -> Tensor:  # (n, h, w)
    return (tap.gradient.relu() * tap.activation).sum(dim=1).relu()
