"""ShapleyCAM: the weight of a channel is a second-order approximation of its Shapley value.

    map = relu( sum_k w_k * a_k ),   w_k = mean( g_k - (H a)_k / 2 )                            [cai2025]

H a is the exact product of the score's Hessian with the activations. If everything after the layer is piecewise linear
(pooling, ReLUs, linear layers), the Hessian is zero and the map equals Grad-CAM. Published code detaches the activations
first, so its product is zero and its map equals Grad-CAM everywhere.
Cost: the forward and backward that the bundle shares, kept differentiable, and one backward through that backward.
"""

from torch import Tensor

from gradfaith.attribution.contract import Curvature, Method, Tap

METHOD = Method(needs=("layer", "curvature"), grid="native", signed=False, backwards=2, cite="cai2025")


def attribute(tap: Tap, curvature: Curvature) -> Tensor:  # (n, h, w)
    slope = tap.gradient - curvature.hessian_product(tap.activation) / 2
    weights = slope.mean(dim=(2, 3), keepdim=True)  # (n, c, 1, 1)
    return (weights * tap.activation).sum(dim=1).relu()
