"""Lungs: the organ's mask as a map: where a radiologist looks first, independent of the model.

    map = 1 inside the organ's mask, 0 outside

Evidence is inside the organ, so a method must point better than this plain anatomical knowledge. The control exists if the
dataset knows the organ (`organ:` in its file); an image without organ mask has no such map, and is counted. Cost: none.
"""

from torch import Tensor

from gradfaith.attribution.contract import ControlInputs, Method

METHOD = Method(needs=("nothing",), grid="input", signed=False)


def attribute(inputs: ControlInputs) -> Tensor:  # (n, h, w)
    if inputs.organ is None:
        return inputs.images.new_zeros((len(inputs.images), *inputs.images.shape[2:]))
    return inputs.organ.to(inputs.images.dtype)
