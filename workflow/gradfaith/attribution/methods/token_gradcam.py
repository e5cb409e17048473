"""Token Grad-CAM: Grad-CAM on the patch tokens of a transformer's residual stream.

    map = relu( sum_k mean(g_k) * a_k ),   a: the patch tokens that leave a block, on their grid         [selvaraju2017]

Which block matters. Where the head reads the class token, what leaves the last block at the patches is read by nothing: its
gradient is exactly zero, and a map scaled with `+ eps` still shows a picture of that. So the block before it is taken,
the deepest whose patches reach the score; where the head reads the mean of the patches, the last one. `gradcam` at the
default layer reads the last block's first norm instead, after its scale is lost. A study's own `layer:` overrides this.
Cost: the forward and the short backward the bundle shares.
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
