"""Half: every pixel has relevance 1/2; the papers' Half.

    map = 1/2, but 0 at the first pixel and 1 at the last, so that scaling to [0, 1] keeps the value 1/2

It scores well in composites: 1/2 is equally good for every part, and their harmonic mean is then high. Cost: none.
"""

from torch import Tensor

from gradfaith.attribution.contract import ControlInputs, Method

METHOD = Method(needs=("nothing",), grid="input", signed=False, cite="domeniconi2026")


def attribute(inputs: ControlInputs) -> Tensor:  # (n, h, w)
    maps = inputs.images.new_full((len(inputs.images), *inputs.images.shape[-2:]), 0.5)
    maps[:, 0, 0] = 0
    maps[:, -1, -1] = 1
    return maps
