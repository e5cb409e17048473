"""CAM: the weights of the classifier's linear layer, applied at every position instead of to the average.

    map = sum_k w_kc * a_k                                                          [zhou2016]

Its mean plus the bias is the logit, so the map is exact. It exists at a layer that only average pooling and one linear
layer follow. There the gradient is w_kc divided by the number of positions, and w is read from it. For other layers the
method is refused. Signed: negative positions speak against the class. Cost: the forward and backward that the bundle shares.
"""

from torch import Tensor

from gradfaith.attribution.contract import Method, Tap

METHOD = Method(
    needs=("layer",), grid="native", signed=True, requires=("linear_head",), backwards=1, cite="zhou2016"
)  # fmt: skip


def attribute(tap: Tap) -> Tensor:  # (n, h, w)
    weights = tap.gradient.sum(dim=(2, 3), keepdim=True)  # (n, c, 1, 1)
    return (weights * tap.activation).sum(dim=1)
