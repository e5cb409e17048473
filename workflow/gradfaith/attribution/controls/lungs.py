"""Lungs: the organ, painted evenly; it knows where a radiologist would look first, and nothing of the model.

    map = 1 inside the organ's mask, 0 outside

Evidence lies in the organ, so a method must point better than a sentence of anatomy. It stands beside the others where the
dataset knows the organ (`organ:` in its file); an image without it has no such map, and is counted. Cost: none.
"""

from torch import Tensor

from gradfaith.attribution.contract import ControlInputs, Method

METHOD = Method(needs=("nothing",), grid="input", signed=False)


def attribute(inputs: ControlInputs) -> Tensor:  # (n, h, w)
    if inputs.organ is None:
        return inputs.images.new_zeros((len(inputs.images), *inputs.images.shape[2:]))
    return inputs.organ.to(inputs.images.dtype)
