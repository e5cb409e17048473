"""CAM: the classifier's own weights, applied at every position instead of to the average.

    map = sum_k w_kc * a_k                                                          [zhou2016]

Its mean plus the bias is the logit, so it is exact where it exists: at a layer that only average pooling and one linear
layer follow. There the gradient is w_kc over the number of positions, which is where w is read from; elsewhere the
method is refused. Signed: negative places speak against the class. Cost: the forward and the backward the bundle shares.
"""

from torch import Tensor

from gradfaith.attribution.contract import Method, Tap

METHOD = Method(
    needs=("layer",), grid="native", signed=True, requires=("linear_head",), backwards=1, cite="zhou2016"
)  # fmt: skip


def attribute(tap: Tap) -> Tensor:  # (n, h, w)
    weights = tap.gradient.sum(dim=(2, 3), keepdim=True)  # (n, c, 1, 1)
    return (weights * tap.activation).sum(dim=1)
