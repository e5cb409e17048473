"""Token Grad-CAM: Grad-CAM on the patch tokens of a transformer's residual stream.

    map = relu( sum_k mean(g_k) * a_k ),   a: the patch tokens that leave a block, on their grid         [selvaraju2017]

The choice of block matters. If the head reads the class token, the patch tokens that leave the last block have a gradient of
exactly zero, and a map scaled with `+ eps` would still show an image. So the block before it is used, the deepest one whose
patches reach the score. If the head reads the mean of the patches, the last block is used. `gradcam` at the default layer
reads the output of the last block's first norm instead, without the tokens' scale. A study's own `layer:` overrides this.
Cost: the forward and the short backward that the bundle shares.
"""

from torch import Tensor

from gradfaith.attribution.contract import Method, Tap

METHOD = Method(
    needs=("layer",),
    requires=("attention",),
    default_layer="residual",
    grid="native",
    signed=False,
    backwards=1,
    cite="selvaraju2017",
    differs="the paper knows convolutions only; tokens of the residual stream take the place of its activations",
)


def attribute(tap: Tap) -> Tensor:  # (n, h, w)
    weights = tap.gradient.mean(dim=(2, 3), keepdim=True)  # (n, c, 1, 1)
    return (weights * tap.activation).sum(dim=1).relu()
