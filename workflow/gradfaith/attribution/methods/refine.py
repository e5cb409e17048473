"""RefineCAM: the product of one method's maps at a layer and at all deeper layers; deep maps restrict the finer ones.

    product        prod_l u_l                                               u_l: the map of layer l, enlarged, scaled to [0, 1]
    geometric      (prod_l u_l)^(1/n)                                       the same ranking as the product
    inverse_exp    1 / log( mean_l exp(1 / u_l) )                           0 where any u_l is 0            [domeniconi2026]

The last formula overflows single precision below u = 0.0113; here it is 1 / (logsumexp(1 / u) - log n), which is exact down
to zero. `of` names the method whose maps are combined, `of_options` its options. On a network whose blocks all have the same
grid, the maps of its last four blocks are combined, and the map gets no finer. A layer without a deeper stage is refused:
the map would be that of the method itself. Cost: one forward, and one backward to the shallowest layer, plus the method's own.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from gradfaith.attribution.contract import LayerMaps, Method
from gradfaith.metrics.maps.evaluate import evaluate

METHOD = Method(needs=("maps",), grid="input", signed=False, backwards=1, cite="domeniconi2026")


def attribute(
    layered: LayerMaps,
    *,
    of: str = "layercam",  # noqa: ARG001 - both are read by attribution/bound_method.py, which runs that method
    of_options: dict[str, Any] = {},  # noqa: ARG001, B006 - a default must be a literal
    combine: Literal["product", "geometric", "inverse_exp"] = "product",
) -> Tensor:  # (n, h, w)
    scaled = [evaluate(maps, grid="native", signed=False, size=layered.image_size) for maps in layered.maps]
    lost = torch.stack([found.broken for found in scaled]).any(dim=0)  # (n,) no map if one layer's map is not finite
    units = torch.stack([found.unit for found in scaled]).masked_fill(lost[:, None, None], torch.nan)  # (l, n, h, w)
    if combine == "inverse_exp":
        return 1 / ((1 / units).logsumexp(dim=0) - math.log(len(units)))
    product = units.prod(dim=0)
    return product if combine == "product" else product ** (1 / len(units))
